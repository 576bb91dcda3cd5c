/** `npm run bench [startup|gateway|store|tunnel] [-- --json]`: measures what we claim about speed, against references of the same run. */
import { parseArgs } from "node:util";
import { formatTable, type Row } from "./row.ts";

/** Loaded when they are asked for, so that what one topic imports does not weigh on another. */
const topics: Readonly<Record<string, () => Promise<readonly Row[]>>> = {
  startup: async () => (await import("./startup.ts")).measureStartup(),
  gateway: async () => (await import("./gateway.ts")).measureGateway(),
  store: async () => (await import("./store.ts")).measureStore(),
  tunnel: async () => (await import("./tunnel.ts")).measureTunnel(),
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: "boolean", default: false } },
});
const unknown = positionals.find((name) => !Object.hasOwn(topics, name));
if (unknown === undefined) await run(positionals.length > 0 ? positionals : Object.keys(topics));
else {
  process.stderr.write(`bench: no topic "${unknown}"; there are ${Object.keys(topics).join(", ")}\n`);
  process.exitCode = 64; // EX_USAGE, sysexits.h
}

/** A missed goal is a result like any other: the exit code only says that everything could be measured. */
async function run(names: readonly string[]): Promise<void> {
  const rows: Row[] = [];
  for (const name of names) rows.push(...((await topics[name]?.()) ?? []));
  if (rows.some(({ value }) => value === null)) process.exitCode = 69; // EX_UNAVAILABLE
  process.stdout.write(values.json ? `${JSON.stringify({ rows })}\n` : `${formatTable(rows)}\n`);
}
