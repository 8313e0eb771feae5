// SPDX-License-Identifier: BSD-2-Clause
// Checks a bill of materials against the schema of CycloneDX 1.5: node sbom.mjs FILE
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const modules = createRequire(path.join(process.cwd(), "package.json"));
const Ajv = modules("ajv").default;
const schemas = path.join(process.cwd(), "node_modules/@cyclonedx/cyclonedx-library/res/schema");
const read = (name) => JSON.parse(fs.readFileSync(name, "utf8"));

const ajv = new Ajv({ strict: false, allErrors: true });
modules("ajv-formats").default(ajv);
for (const format of ["iri-reference", "idn-email"]) ajv.addFormat(format, true);
for (const name of ["spdx", "jsf-0.82"])
  ajv.addSchema(read(`${schemas}/${name}.SNAPSHOT.schema.json`), `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`);
const valid = ajv.compile(read(`${schemas}/bom-1.5.SNAPSHOT.schema.json`));
const bill = read(process.argv[2]);
if (!valid(bill)) {
  console.log(valid.errors.map((e) => `${e.instancePath}: ${e.message}`).join("\n"));
  process.exit(1);
}
console.log(`${bill.components.length} components`);
