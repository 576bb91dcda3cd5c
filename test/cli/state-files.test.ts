/** Files that are damaged, foreign or not to be written: each is named by the error, and none is touched. */
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { createIdentity, formatIdentity } from "../../src/identity/device-identity.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { CliHome, type CliResult } from "../support/run-cli.ts";
import { runScript } from "../support/run-script.ts";

const identityText = formatIdentity(createIdentity(systemRuntime.random(32), 1));
const otherIdentityText = formatIdentity(createIdentity(systemRuntime.random(32), 1));
const foreignDatabase = databaseOfSomebodyElse();

test.each<[what: string, file: string, content: string | Buffer, line: string]>([
  ["an identity that is empty", "identity/device.json", "", "identity show"],
  ["an identity that was half written", "identity/device.json", identityText.slice(0, 80), "identity show"],
  ["an identity that is another program's JSON", "identity/device.json", '{"name":"something else"}', "identity show"],
  ["an identity whose id is not its key's", "identity/device.json", mixedIdentity(), "identity show"],
  ["an identity of bytes", "identity/device.json", Buffer.from([0, 159, 146, 150]), "identity show"],
  ["a broken identity, for a gateway", "identity/device.json", "{", "gateway run --port 0"],
  ["a broken identity, for a node", "identity/device.json", "{", "node run --port 1"],
  ["a broken identity, for create", "identity/device.json", "{", "identity create"],
  ["a token file that is empty", "gateway-token", "", "gateway run --port 0"],
  ["a token file with more than a token", "gateway-token", "a token\nand more\n", "gateway run --port 0"],
  ["a token file that is empty, for the command that shows it", "gateway-token", "\n", "gateway token --show"],
  ["a key of the device tokens that is none", "device-token-key", "short", "gateway run --port 0"],
  [
    "a database that is text",
    "gateway.db",
    "this is no database, but it is longer than a header",
    "gateway run --port 0",
  ],
  ["a database of another program", "gateway.db", foreignDatabase, "gateway run --port 0"],
  ["device tokens that were half written", "identity/device-tokens.json", '{"version":1,"tok', "node status"],
  ["device tokens of a later version", "identity/device-tokens.json", '{"version":2,"tokens":[]}', "node status"],
  ["a node file that is something else", "node.json", "[]", "node run --port 1"],
])("%s: named, and left as it is", async (_what, file, content, line) => {
  using home = new CliHome();
  const path = join(home.toolkitDir, file);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(path, content, { mode: 0o600 });
  const result = await home.run(`${line} --json`);
  expect(failureOf(result)).toMatchObject({ code: "state-unreadable" });
  expect(result.code).toBe(1);
  expect(result.stderr).toContain(path);
  expect(readFileSync(path)).toEqual(Buffer.from(content));
});

test("a directory where a file should be is named", async () => {
  using home = new CliHome();
  const path = join(home.toolkitDir, "identity", "device.json");
  mkdirSync(path, { recursive: true });
  const result = await home.run("identity show --json");
  expect(failureOf(result)).toMatchObject({ code: "state-unreadable" });
  expect(result.stderr).toContain(path);
});

test("a broken exec-approvals file stops no node, and lets nothing run", async () => {
  using home = new CliHome();
  mkdirSync(home.toolkitDir, { recursive: true });
  const path = join(home.toolkitDir, "exec-approvals.json");
  writeFileSync(path, "{");
  await using running = home.start("node run --port 1 --json");
  await running.event("disconnected");
  await running.stop();
  expect(readFileSync(path, "utf8")).toBe("{");
});

test.runIf(process.getuid?.() === 0)(
  "files and directories of another user are named, and a read-only state directory too",
  async () => {
    using home = new CliHome();
    chmodSync(home.directory, 0o755);
    mkdirSync(home.toolkitDir, { recursive: true });
    mkdirSync(join(home.toolkitDir, "identity"));
    const secret = join(home.toolkitDir, "identity", "device.json");
    writeFileSync(secret, identityText, { mode: 0o600 });
    for (const directory of [home.stateDir, home.toolkitDir, join(home.toolkitDir, "identity")])
      chmodSync(directory, 0o755);
    const own = home.path("own");
    mkdirSync(own);
    chownSync(own, nobody, nobody);

    const unreadable = await asNobody(home, "identity show --json");
    expect(unreadable).toMatchObject({ code: 1, error: { code: "state-unreadable" } });
    expect(unreadable.stderr).toContain(secret);

    const readOnly = await asNobody(home, "config set gateway.port 1 --json");
    expect(readOnly).toMatchObject({ code: 1, error: { code: "state-unwritable" } });
    expect(readOnly.stderr).toContain(home.toolkitDir);

    const noDirectory = await asNobody(home, `identity create --json --state-dir ${home.path("new")}`);
    expect(noDirectory).toMatchObject({ code: 1, error: { code: "state-unwritable" } });
    expect(noDirectory.stderr).toContain(home.path("new"));

    expect(await asNobody(home, `identity create --json --state-dir ${own}`)).toMatchObject({ code: 0 });
  },
);

const nobody = 65_534;

/** Runs a command line as a user without rights. */
async function asNobody(home: CliHome, line: string) {
  const printed = await runScript("unprivileged-cli.ts", home.directory, ...line.split(" "));
  const { code, stdout, stderr }: { code: number; stdout: string; stderr: string } = JSON.parse(printed);
  return { code, stderr, error: failureOf({ code, stdout, stderr, json: undefined }) };
}

/** The failure in the last line: long-running commands print events before it. */
function failureOf({ stdout, stderr }: CliResult): unknown {
  const last = stdout.trim().split("\n").at(-1) ?? "";
  if (!last.startsWith("{")) throw new Error(`no JSON: ${stdout}${stderr}`);
  const { error }: { readonly error?: unknown } = JSON.parse(last);
  return error;
}

/** The key of one device under the id of another. */
function mixedIdentity(): string {
  const idOf = (text: string) => /"deviceId": "([0-9a-f]+)"/u.exec(text)?.[1] ?? "";
  return identityText.replace(idOf(identityText), idOf(otherIdentityText));
}

function databaseOfSomebodyElse(): Buffer {
  using home = new CliHome();
  const path = home.path("other.db");
  const database = new DatabaseSync(path);
  database.exec("CREATE TABLE photos (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO photos (name) VALUES ('cat')");
  database.close();
  return readFileSync(path);
}
