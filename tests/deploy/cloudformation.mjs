// SPDX-License-Identifier: BSD-2-Clause
// Checks a CloudFormation template against the resource specification that AWS publishes (as @aws-cdk/cfnspec
// carries it), that all that it refers to exists, and that it is the reference deployment of
// docs/deployment.md.
//
//     node cloudformation.mjs TEMPLATE [USER_DATA]
//
// USER_DATA: a file to which the configuration in the launch template is written, with its parameters filled in, for
// shoald -t.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const modules = createRequire(path.join(process.cwd(), "package.json"));
const YAML = modules("yaml");
const spec = JSON.parse(fs.readFileSync(
  path.join(path.dirname(modules.resolve("@aws-cdk/cfnspec/package.json")), "spec/specification.json")));

const wrong = [];
const complain = (where, what) => wrong.push(`${where}: ${what}`);

// ---- reading: !Ref and its like become {"Ref": ...}
const tag = (name, key, make) => ["scalar", "seq", "map"].map((kind) => ({
  tag: name,
  ...(kind === "scalar" ? {} : { collection: kind }),
  resolve: (value) => ({ [key]: make(kind === "scalar" ? value : value.toJSON()) }),
}));
const same = (x) => x;
const functions = [
  ...tag("!Ref", "Ref", same),
  ...tag("!Sub", "Fn::Sub", same),
  ...tag("!Select", "Fn::Select", same),
  ...tag("!GetAZs", "Fn::GetAZs", same),
  ...tag("!Cidr", "Fn::Cidr", same),
  ...tag("!GetAtt", "Fn::GetAtt", (x) => (typeof x === "string" ? [x.split(".")[0], x.slice(x.indexOf(".") + 1)] : x)),
];
const parse = (text) => YAML.parse(text, { customTags: functions, uniqueKeys: true });

const template = parse(fs.readFileSync(process.argv[2], "utf8"));
const { Resources: resources, Parameters: parameters = {}, Outputs: outputs = {} } = template;
const isFunction = (v) => v !== null && typeof v === "object" && Object.keys(v).length === 1 &&
  (Object.keys(v)[0] === "Ref" || Object.keys(v)[0].startsWith("Fn::"));

// ---- references
const used = new Set();
const pseudo = ["AWS::Region", "AWS::StackName", "AWS::AccountId", "AWS::Partition", "AWS::NoValue", "AWS::URLSuffix"];
function refer(where, name) {
  used.add(name);
  if (!(name in resources) && !(name in parameters) && !pseudo.includes(name)) complain(where, `there is no ${name}`);
}
function attribute(where, name, attr) {
  used.add(name);
  const resource = resources[name];
  if (resource === undefined) return complain(where, `there is no resource ${name}`);
  const known = spec.ResourceTypes[resource.Type]?.Attributes ?? {};
  // what the specification of that day lacks
  const later = { "AWS::SecretsManager::Secret": ["Id"] }[resource.Type] ?? [];
  if (!(attr in known) && !later.includes(attr)) complain(where, `${resource.Type} has no attribute ${attr}`);
}
function references(where, value) {
  if (Array.isArray(value)) return value.forEach((v, i) => references(`${where}[${i}]`, v));
  if (value === null || typeof value !== "object") return;
  for (const [key, v] of Object.entries(value)) {
    if (key === "Ref") refer(where, v);
    else if (key === "Fn::GetAtt") attribute(where, v[0], v[1]);
    else if (key === "Fn::Sub") {
      for (const [, name] of (Array.isArray(v) ? v[0] : v).matchAll(/\$\{([^!}]+)\}/g)) {
        const dot = name.indexOf(".");
        if (dot < 0) refer(where, name);
        else attribute(where, name.slice(0, dot), name.slice(dot + 1));
      }
    } else references(`${where}.${key}`, v);
  }
}

// ---- types
const primitives = {
  String: (v) => typeof v === "string" || typeof v === "number" || typeof v === "boolean",
  Integer: (v) => Number.isInteger(Number(v)),
  Long: (v) => Number.isInteger(Number(v)),
  Double: (v) => Number.isFinite(Number(v)),
  Boolean: (v) => typeof v === "boolean" || v === "true" || v === "false",
  Timestamp: (v) => typeof v === "string",
  Json: (v) => typeof v === "object" || typeof v === "string",
};
function one(where, value, type, primitive, resource) {
  if (isFunction(value)) return;
  if (primitive) {
    if (!primitives[primitive](value)) complain(where, `${JSON.stringify(value)} is no ${primitive}`);
    return;
  }
  const found = spec.PropertyTypes[`${resource}.${type}`] ?? spec.PropertyTypes[type];
  if (found === undefined) return complain(where, `the specification has no ${resource}.${type}`);
  if (found.Properties) properties(where, value, found.Properties, resource);
}
function property(where, value, p, resource) {
  if (p.Type === "List") {
    if (isFunction(value)) return;
    if (!Array.isArray(value)) return complain(where, "is not a list");
    value.forEach((v, i) => one(`${where}[${i}]`, v, p.ItemType, p.PrimitiveItemType, resource));
  } else if (p.Type === "Map") {
    for (const [k, v] of Object.entries(value)) one(`${where}.${k}`, v, p.ItemType, p.PrimitiveItemType, resource);
  } else one(where, value, p.Type, p.PrimitiveType, resource);
}
function properties(where, value, known, resource) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return complain(where, "is not a map");
  for (const [name, v] of Object.entries(value)) {
    if (known[name] === undefined) complain(where, `there is no property ${name}`);
    else property(`${where}.${name}`, v, known[name], resource);
  }
  for (const [name, p] of Object.entries(known)) {
    if (p.Required && value[name] === undefined) complain(where, `lacks ${name}`);
  }
}
const around = ["Type", "Properties", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "UpdatePolicy",
  "CreationPolicy", "Metadata", "Condition"];
for (const [name, r] of Object.entries(resources)) {
  if (!/^[A-Za-z0-9]+$/.test(name)) complain(name, "a resource's name has letters and digits only");
  for (const key of Object.keys(r)) if (!around.includes(key)) complain(name, `a resource has no ${key}`);
  const known = spec.ResourceTypes[r.Type];
  if (known === undefined) complain(name, `there is no type ${r.Type}`);
  else properties(name, r.Properties ?? {}, known.Properties, r.Type);
  [r.DependsOn ?? []].flat().forEach((d) => (d in resources ? null : complain(name, `depends on ${d}, which is not there`)));
  references(name, r);
}
references("Outputs", outputs);
for (const name of Object.keys(parameters)) if (!used.has(name)) complain(name, "a parameter that nothing uses");
for (const group of template.Metadata["AWS::CloudFormation::Interface"].ParameterGroups)
  for (const name of group.Parameters) if (!(name in parameters)) complain("Metadata", `there is no parameter ${name}`);

// no circle: each resource after those that it names
const after = new Map();
for (const [name, r] of Object.entries(resources)) {
  const names = new Set([r.DependsOn ?? []].flat());
  JSON.stringify(r, (key, v) => {
    if (key === "Ref" && v in resources) names.add(v);
    if (key === "Fn::GetAtt") names.add(v[0]);
    if (key === "Fn::Sub") for (const [, n] of String(v).matchAll(/\$\{([^!}.]+)/g)) if (n in resources) names.add(n);
    return v;
  });
  after.set(name, names);
}
const made = new Set();
for (let grew = true; grew;) {
  grew = false;
  for (const [name, names] of after) {
    if (!made.has(name) && [...names].every((n) => made.has(n))) grew = Boolean(made.add(name));
  }
}
for (const name of after.keys()) if (!made.has(name)) complain(name, "is in a circle of resources that wait for each other");

// ---- the reference deployment
const want = (what, condition) => condition || complain("reference deployment", what);
const of = (type) => Object.entries(resources).filter(([, r]) => r.Type === type).map(([n, r]) => ({ name: n, ...r.Properties }));
const only = (type) => {
  const found = of(type);
  want(`one ${type}, not ${found.length}`, found.length === 1);
  return found[0];
};
const ref = (v) => v?.Ref ?? v?.["Fn::GetAtt"]?.[0];

const balancer = only("AWS::ElasticLoadBalancing::LoadBalancer");
const ways = balancer.Listeners.map((l) => `${l.Protocol}:${l.LoadBalancerPort}>${l.InstanceProtocol}:${l.InstancePort}`);
want("443 to 80 and 8443 to 8080, and no other listener", ways.sort().join() === "HTTPS:443>HTTP:80,HTTPS:8443>HTTP:8080");
const check = balancer.HealthCheck;
want("health check HTTP:80/health, timeout 59, interval 60, thresholds 2/2",
  [check.Target, check.Timeout, check.Interval, check.HealthyThreshold, check.UnhealthyThreshold].join() === "HTTP:80/health,59,60,2,2");
want("stickiness off", !balancer.AppCookieStickinessPolicy && !balancer.LBCookieStickinessPolicy);
want("idle timeout 300", balancer.ConnectionSettings.IdleTimeout === 300);

const database = only("AWS::RDS::DBInstance");
want("PostgreSQL, Multi-AZ, encrypted, not public, backed up",
  database.Engine === "postgres" && database.MultiAZ === true && database.StorageEncrypted === true &&
  database.PubliclyAccessible === false && database.BackupRetentionPeriod >= 7);
want("the database is kept as a snapshot", resources[database.name].DeletionPolicy === "Snapshot");
const redis = only("AWS::ElastiCache::ReplicationGroup");
want("Redis with one replica, automatic failover and no cluster mode",
  redis.NumCacheClusters === 2 && redis.AutomaticFailoverEnabled === true && redis.NumNodeGroups === undefined);

// exactly these ways in
const groups = Object.fromEntries(of("AWS::EC2::SecurityGroup").map((g) => [g.name, g]));
const ins = [];
for (const g of Object.values(groups))
  for (const rule of g.SecurityGroupIngress ?? []) ins.push(`${g.name}:${rule.FromPort}-${rule.ToPort}<${ref(rule.CidrIp)}`);
for (const rule of of("AWS::EC2::SecurityGroupIngress"))
  ins.push(`${ref(rule.GroupId)}:${rule.FromPort}-${rule.ToPort}<${ref(rule.SourceSecurityGroupId)}`);
want(`ways in, not ${ins.sort().join(" ")}`, ins.join(" ") === [
  "BalancerGroup:443-443<ApplicationsCidr", "BalancerGroup:8443-8443<DevelopersCidr", "DatabaseGroup:5432-5432<NodeGroup",
  "NodeGroup:80-80<BalancerGroup", "NodeGroup:8080-8080<BalancerGroup", "RedisGroup:6379-6379<NodeGroup",
].join(" "));
for (const g of Object.values(groups)) want(`${g.name} says what may go out`, Array.isArray(g.SecurityGroupEgress));
// and a way out for each way in between groups
const outs = of("AWS::EC2::SecurityGroupEgress").map((r) => `${ref(r.GroupId)}:${r.FromPort}>${ref(r.DestinationSecurityGroupId)}`);
for (const rule of of("AWS::EC2::SecurityGroupIngress"))
  want(`${ref(rule.SourceSecurityGroupId)} may go out to ${ref(rule.GroupId)}`,
    outs.includes(`${ref(rule.SourceSecurityGroupId)}:${rule.FromPort}>${ref(rule.GroupId)}`));

const nodes = only("AWS::AutoScaling::AutoScalingGroup");
const hook = nodes.LifecycleHookSpecificationList?.[0];
want("a lifecycle hook that waits for the drain, which takes up to 130 s and 30 s and ten more",
  hook?.LifecycleTransition === "autoscaling:EC2_INSTANCE_TERMINATING" && hook.HeartbeatTimeout > 170);
want("nodes are behind the balancer, and judged by it",
  nodes.LoadBalancerNames.some((n) => ref(n) === balancer.name) && nodes.HealthCheckType === "ELB");
const launch = only("AWS::EC2::LaunchTemplate").LaunchTemplateData;
want("the machine's credentials need a session", launch.MetadataOptions.HttpTokens === "required");
want("disks are encrypted", launch.BlockDeviceMappings.every((b) => b.Ebs.Encrypted === true));

// ---- the user data is a document of its own
const data = launch.UserData["Fn::Base64"]["Fn::Sub"];
const filled = data.replace(/\$\{([^!}]+)\}/g, (_, name) => ({ "AWS::StackName": "production", Hostname: "tasks.example.com",
  "Database.Endpoint.Port": "5432", NetworkCidr: "10.20.0.0/16", "Redis.PrimaryEndPoint.Port": "6379" })[name] ?? "a.example.com");
const cloud = YAML.parse(filled);
want("user data is a cloud-config", data.startsWith("#cloud-config\n") && Array.isArray(cloud.write_files));
const file = (name) => cloud.write_files.find((f) => f.path === name)?.content ?? "";
want("the hook that the node completes is the one there is", file("/etc/shoal/boot.env").includes(`SHOAL_HOOK=${hook?.LifecycleHookName}\n`));
want("no secret is in the user data", !/password\s*=|token\s*=/.test(file("/etc/shoal/shoald.conf")));
want("a launch template's user data has 16 KiB at most", Buffer.byteLength(data) < 12000);
if (process.argv[3]) fs.writeFileSync(process.argv[3], file("/etc/shoal/shoald.conf"));

if (wrong.length > 0) {
  console.log(wrong.join("\n"));
  process.exit(1);
}
console.log(`${Object.keys(resources).length} resources, by specification ${spec.ResourceSpecificationVersion}`);
