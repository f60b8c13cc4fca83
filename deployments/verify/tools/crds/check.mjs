// Checks custom objects against the types and schemas of their projects:
//
//   node check.mjs FOLDER < objects.json
//
// FOLDER has node_modules with the packages of package.json. Input: a list of { where, object }. The schemas check types,
// ranges and patterns but let unknown keys pass, so each object is also written down as TypeScript, whose compiler refuses them.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const folder = resolve(process.argv[2]);
// Modules are found from where a file lies, so this one lies beside them.
writeFileSync(join(folder, "load.mjs"), "export const load = (name) => import(name);\n");
const { load } = await import(pathToFileURL(join(folder, "load.mjs")).href);
const PACKAGES = {
  "monitoring.coreos.com": "prometheus-operator",
  "gateway.networking.k8s.io": "gateway-api",
  "cert-manager.io": "cert-manager",
  "external-secrets.io": "external-secrets",
  "argoproj.io": "argo-rollouts",
};
// The vertical autoscaler has no package; these are the keys of its v1 that are used, from its API reference.
const VPA = {
  targetRef: { apiVersion: "string", kind: "string", name: "string" },
  updatePolicy: { updateMode: ["Off", "Initial", "Recreate", "InPlaceOrRecreate", "Auto"], minReplicas: "number" },
  resourcePolicy: {
    containerPolicies: [{ containerName: "string", mode: ["Auto", "Off"], minAllowed: "map", maxAllowed: "map", controlledResources: "list", controlledValues: ["RequestsAndLimits", "RequestsOnly"] }],
  },
};

/** What of `value` does not fit `shape`, as texts. */
function unfit(value, shape, path) {
  if (typeof shape === "string") {
    const kind = Array.isArray(value) ? "list" : value !== null && typeof value === "object" ? "map" : typeof value;
    return kind === shape ? [] : [`${path} is a ${kind}, not a ${shape}`];
  }
  if (Array.isArray(shape) && typeof shape[0] === "string") return shape.includes(value) ? [] : [`${path} is ${JSON.stringify(value)}`];
  if (Array.isArray(shape)) return Array.isArray(value) ? value.flatMap((entry, i) => unfit(entry, shape[0], `${path}[${i}]`)) : [`${path} is no list`];
  return Object.entries(value).flatMap(([key, entry]) => (key in shape ? unfit(entry, shape[key], `${path}.${key}`) : [`${path}.${key} is unknown`]));
}

const objects = JSON.parse(readFileSync(0, "utf8"));
const problems = [];
const lines = [];
const places = [];
for (const { where, object } of objects) {
  const [group, version] = object.apiVersion.split("/");
  if (group === "autoscaling.k8s.io" && object.kind === "VerticalPodAutoscaler") {
    problems.push(...unfit(object.spec, VPA, "spec").map((text) => `${where}: ${text}`));
    continue;
  }
  const name = PACKAGES[group] && `@kubernetes-models/${PACKAGES[group]}/${group}/${version}/${object.kind}`;
  if (!name) {
    problems.push(`${where}: no schema for ${object.apiVersion}`);
    continue;
  }
  const models = await load(name);
  try {
    new models[object.kind](object).validate();
  } catch (error) {
    problems.push(`${where}: ${error.message}`);
  }
  const alias = `${object.kind}${lines.length}`;
  const { apiVersion, kind, ...rest } = object;
  lines.push(`import { ${object.kind} as ${alias} } from "${name}"; new ${alias}(${JSON.stringify(rest)});`);
  places.push(where);
}
writeFileSync(join(folder, "objects.ts"), lines.join("\n") + "\nexport {};\n");
try {
  execFileSync(join(folder, "node_modules/.bin/tsc"), ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext", "objects.ts"], { cwd: folder, encoding: "utf8" });
} catch (error) {
  for (const line of `${error.stdout}`.split("\n").filter((text) => /error TS/.test(text))) {
    const place = places[Number(/^objects\.ts\((\d+),/.exec(line)?.[1]) - 1] ?? "?";
    problems.push(`${place}: ${line.replace(/^objects\.ts\(\d+,\d+\): /, "")}`);
  }
}
for (const problem of problems) console.error(problem);
console.log(`${objects.length} custom objects, ${problems.length} problems`);
process.exit(problems.length ? 1 : 0);
