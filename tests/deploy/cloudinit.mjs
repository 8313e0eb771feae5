// SPDX-License-Identifier: BSD-2-Clause
// Checks user data for cloud-init: its keys and their forms, and that nothing in it is one machine's own.
//
//     node cloudinit.mjs USER_DATA CONFIGURATION
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const YAML = createRequire(path.join(process.cwd(), "package.json"))("yaml");
const text = fs.readFileSync(process.argv[2], "utf8");
const data = YAML.parse(text, { uniqueKeys: true });
const wrong = [];
const want = (what, condition) => condition || wrong.push(what);

want("begins with #cloud-config", text.startsWith("#cloud-config\n"));
want("16 KiB at most", Buffer.byteLength(text) <= 16384);
for (const key of Object.keys(data)) want(`${key}: not a key that is used here`, ["write_files", "runcmd"].includes(key));
for (const f of data.write_files) {
  for (const key of Object.keys(f)) want(`${f.path}: no ${key}`, ["path", "owner", "permissions", "content"].includes(key));
  want(`${f.path}: an absolute path`, f.path.startsWith("/"));
  want(`${f.path}: others cannot read it`, /^0[0-7][0-7]0$/.test(f.permissions));
}
for (const c of data.runcmd) want("a command is a list of words", Array.isArray(c) && c.every((w) => typeof w === "string"));
const conf = data.write_files.find((f) => f.path === "/etc/shoal/shoald.conf").content;
for (const [, name] of conf.matchAll(/_file = (\S+)/g)) want(`${name} is written`, data.write_files.some((f) => f.path === name));
fs.writeFileSync(process.argv[3], conf);
if (wrong.length > 0) {
  console.log(wrong.join("\n"));
  process.exit(1);
}
console.log(`${data.write_files.length} files`);
