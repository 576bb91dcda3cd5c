/** `npm run interop [-- --version V] [-- --report]`: every scenario with the real product, a line each; with --report the table in docs/ is written. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type TestCase, startVitest } from "vitest/node";
import { compatibilityTable, type ScenarioResult } from "./report.ts";
import { installProduct, versions } from "./install.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { report: { type: "boolean", default: false }, version: { type: "string", multiple: true } },
});
const wanted = values.version ?? versions;
const unknown = wanted.find((version) => !(versions as readonly string[]).includes(version));
if (unknown !== undefined) throw new RangeError(`no version "${unknown}"; there are ${versions.join(", ")}`);

for (const version of versions.filter((version) => wanted.includes(version))) {
  process.stdout.write(`openclaw ${version}: installing\n`);
  await installProduct(version); // without the product there is nothing to skip: the run fails
}

const results: ScenarioResult[] = [];
const vitest = await startVitest("test", positionals, {
  root: join(import.meta.dirname, "../.."),
  config: join(import.meta.dirname, "vitest.config.ts"),
  watch: false,
  env: { OPENCLAW_INTEROP_VERSIONS: wanted.join(",") },
  reporters: ["verbose", { onTestCaseResult: (test) => void results.push(resultOf(test)) }],
});
await vitest.close();
const failed = results.filter(({ state }) => state === "failed").length;
if (values.report) {
  const docs = join(import.meta.dirname, "../../docs");
  mkdirSync(docs, { recursive: true });
  writeFileSync(join(docs, "compatibility.md"), compatibilityTable(results));
}
process.exitCode = failed > 0 || results.length === 0 ? 1 : process.exitCode;

/** A scenario stands in `describe(version)` > `describe(direction)`. */
function resultOf(test: TestCase): ScenarioResult {
  const names: string[] = [];
  for (let at = test.parent; at.type === "suite"; at = at.parent) names.unshift(at.name);
  const [version = "", direction = ""] = names;
  const annotation = test.annotations().at(0);
  const note = annotation?.message;
  const { state: outcome } = test.result();
  const state = outcome === "passed" && annotation?.type === "no" ? "no" : outcome;
  return { version, direction, scenario: test.name, state, ...(note === undefined ? {} : { note }) };
}
