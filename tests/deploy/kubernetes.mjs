// SPDX-License-Identifier: BSD-2-Clause
// Checks Kubernetes manifests against the schemas of the API (kubernetes-models carries them), and that they hold what
// docs/deployment.md says of a node in Kubernetes.
//
//     node kubernetes.mjs CONFIGURATION MANIFEST...
//
// CONFIGURATION: a file to which the configuration in the ConfigMap is written, for shoald -t.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const modules = createRequire(path.join(process.cwd(), "package.json"));
const YAML = modules("yaml");

const wrong = [];
const want = (what, condition) => condition || wrong.push(what);

// The schemas allow what they do not know, which is how a misspelt field would go unseen.  So the validators get
// a document that remembers which of its fields they have looked at: what none has looked at is no field.
function watched(value, where, unseen) {
  if (value === null || typeof value !== "object") return value;
  const copy = Array.isArray(value) ? [] : {};
  for (const [key, v] of Object.entries(value)) {
    const at = Array.isArray(value) ? `${where}[${key}]` : `${where}.${key}`;
    copy[key] = watched(v, at, unseen);
    unseen.add(at);
  }
  return new Proxy(copy, {
    get(object, key) {
      if (typeof key === "string") unseen.delete(Array.isArray(value) ? `${where}[${key}]` : `${where}.${key}`);
      return object[key];
    },
  });
}

const documents = [];
for (const name of process.argv.slice(3)) {
  for (const document of YAML.parseAllDocuments(fs.readFileSync(name, "utf8"), { uniqueKeys: true })) {
    document.errors.forEach((e) => wrong.push(`${name}: ${e.message}`));
    documents.push({ file: path.basename(name), ...document.toJS() });
  }
}
for (const { file, ...d } of documents) {
  const where = `${file}: ${d.kind} ${d.metadata?.name}`;
  try {
    const models = modules(`kubernetes-models/${d.apiVersion}`);
    if (models[d.kind] === undefined) throw new Error(`${d.apiVersion} has no ${d.kind}`);
    const unseen = new Set();
    const fields = Object.fromEntries(Object.entries(d).map(([k, v]) => [k, watched(v, k, unseen)]));
    models[d.kind].prototype.validate.call(fields);
    unseen.forEach((field) => wrong.push(`${where}: there is no field ${field}`));
    for (const key of Object.keys(d)) {
      if (!["apiVersion", "kind", "metadata", "spec", "data", "stringData", "type", "automountServiceAccountToken"].includes(key))
        wrong.push(`${where}: there is no field ${key}`);
    }
  } catch (e) {
    wrong.push(`${where}: ${e.message}`);
  }
  if (d.kind !== "Namespace") want(`${where}: names no namespace`, d.metadata.namespace);
}

const of = (kind, name) => documents.find((d) => d.kind === kind && (!name || d.metadata.name === name)) ?? {};
const pod = of("Deployment").spec.template;
const [container] = pod.spec.containers;
const labels = pod.metadata.labels;
const selects = (selector) => Object.entries(selector).every(([k, v]) => labels[k] === v);

// ---- who selects whom, and ports by their names
want("the deployment selects its own pods", selects(of("Deployment").spec.selector.matchLabels));
want("the budget selects the nodes", selects(of("PodDisruptionBudget").spec.selector.matchLabels));
want("the network policy selects the nodes", selects(of("NetworkPolicy").spec.podSelector.matchLabels));
const ports = Object.fromEntries(container.ports.map((p) => [p.name, p.containerPort]));
for (const s of documents.filter((d) => d.kind === "Service")) {
  want(`${s.metadata.name} selects the nodes`, selects(s.spec.selector));
  want(`${s.metadata.name} has no stickiness`, s.spec.sessionAffinity === "None");
  s.spec.ports.forEach((p) => want(`${s.metadata.name} goes to a port that is there`, ports[p.targetPort]));
}
const target = of("HorizontalPodAutoscaler").spec.scaleTargetRef;
want("the autoscaler scales the deployment", target.kind === "Deployment" && target.name === of("Deployment").metadata.name);
want("nothing but the autoscaler says how many", of("Deployment").spec.replicas === undefined);
for (const v of pod.spec.volumes) {
  if (v.configMap) want(`the config map ${v.configMap.name} is there`, of("ConfigMap", v.configMap.name).data);
  if (v.secret) want(`the secret ${v.secret.secretName} is there`, of("Secret", v.secret.secretName).stringData);
}
for (const m of container.volumeMounts) want(`the volume ${m.name} is there`, pod.spec.volumes.some((v) => v.name === m.name));

// ---- what the configuration says, and what has to fit it
const text = of("ConfigMap", "shoald").data["shoald.conf"];
const setting = (name) => new RegExp(`^${name} = (.*)$`, "m").exec(text)?.[1];
const seconds = (name) => Number(/^(\d+)s$/.exec(setting(name))[1]);
want("ports are those of the listeners",
  setting("applications") === `0.0.0.0:${ports.applications}` && setting("developers") === `0.0.0.0:${ports.developers}`);
const leaves = container.lifecycle.preStop.sleep.seconds + seconds("drain_delay") + seconds("shutdown_timeout") + 10;
want(`a pod has the ${leaves} s that its node takes to leave`, pod.spec.terminationGracePeriodSeconds >= leaves);
const ready = container.readinessProbe;
want("a node that drains is out before it stops serving",
  seconds("drain_delay") >= ready.periodSeconds * ready.failureThreshold + ready.timeoutSeconds);
want("readiness and start are /health", [ready, container.startupProbe].every((p) => p.httpGet.path === "/health"));
want("liveness is not /health, which is 503 in a drain", container.livenessProbe.httpGet === undefined);
const scale = of("HorizontalPodAutoscaler").spec.metrics.find((m) => m.type === "External").external;
want("scales at the places of a node: node.slots of each worker",
  Number(scale.target.averageValue) === 256 * Number(setting("workers")));
want("as many workers as processors", container.resources.limits.cpu === setting("workers"));
const rules = YAML.parse(of("ConfigMap", "shoal-metrics").data["config.yaml"]).externalRules;
want("the metric is made by a rule", rules.some((r) => r.seriesQuery.startsWith(`${scale.metric.name}{`)));
for (const [, name] of text.matchAll(/= ?\/etc\/shoal\/secrets\/(\S+)|=\/etc\/shoal\/secrets\/(\S+)/g))
  if (name) want(`the secret has ${name}`, name in of("Secret", "shoald").stringData);

// ---- rights: the restricted profile and a root file system that cannot be written
const p = pod.spec.securityContext, c = container.securityContext;
want("not root, with the runtime's filter", p.runAsNonRoot === true && p.runAsUser > 0 && p.seccompProfile.type === "RuntimeDefault");
want("no privileges, no capabilities, a read-only root file system",
  c.allowPrivilegeEscalation === false && c.readOnlyRootFilesystem === true && c.capabilities.drop.join() === "ALL" && !c.capabilities.add);
want("no token of the cluster's own", pod.spec.automountServiceAccountToken === false);
want("bounds on memory and processors", container.resources.limits.memory && container.resources.limits.cpu);
want("no secret in the configuration", !/^(password|token) *=/m.test(text));

fs.writeFileSync(process.argv[2], text);
if (wrong.length > 0) {
  console.log(wrong.join("\n"));
  process.exit(1);
}
console.log(`${documents.length} objects`);
