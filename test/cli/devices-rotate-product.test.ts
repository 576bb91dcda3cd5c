/** devices rotate at a gateway that has no rotation with an overlap, as the product's: what is said before somebody is cut off. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { textAt } from "../support/raw-client.ts";
import { type PlainRelay, startPlainRelay } from "../support/plain-relay.ts";
import { binPath, CliHome } from "../support/run-cli.ts";
import { type GatewayHome, type NodeHome, startGatewayHome, succeed } from "./world.ts";

let home: GatewayHome;
let node: NodeHome;
let relay: PlainRelay;
const laptop = new CliHome();
beforeAll(async () => {
  home = await startGatewayHome();
  node = await home.node("kitchen");
  relay = await startPlainRelay(home.port);
  const ask = "pair request --role operator --scope operator.pairing --scope operator.admin";
  const env = { OPENCLAW_GATEWAY_TOKEN: home.token };
  const { json } = await laptop.run(`${ask} --port ${relay.port} --json`, { env });
  await succeed(home.ask(`devices approve ${textAt(json, "requestId")}`));
  await succeed(laptop.run(`${ask} --port ${relay.port} --json`, { env }));
});
afterAll(async () => {
  await relay[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
  laptop[Symbol.dispose]();
});

const rotate = (words: string) => laptop.run(`devices rotate ${words} --port ${relay.port} --json`);

test("another device's token: it is said who will be cut off, and nothing is done until that is meant", async () => {
  expect(await rotate("kitchen")).toMatchObject({
    code: 2,
    json: {
      error: {
        code: "usage",
        message: expect.stringMatching(
          /kitchen \(node\) will be cut off, and must come with .* or be approved again$/u,
        ),
        hint: "add --yes if that is meant",
        details: { devices: [{ role: "node" }] },
      },
    },
  });
  expect(relay.rotations).toEqual([]);
  const from = node.running.events.items.length;
  const { code, json } = await rotate("kitchen --yes");
  expect({ code, json }).toMatchObject({ code: 0, json: { ok: true, delivered: false } });
  expect(json).not.toHaveProperty("state");
  await node.running.event("disconnected", from);
  await node.running.event("ready", from);
  expect(relay.rotations).toEqual([{ deviceId: expect.any(String), role: "node" }]);
});

test.each(["--overlap 5m", "--critical kitchen"])("%s is more than it has: nothing is rotated", async (words) => {
  const before = relay.rotations.length;
  expect(await rotate(`kitchen --yes ${words}`)).toMatchObject({ code: 10, json: { error: { code: "incompatible" } } });
  expect(relay.rotations).toHaveLength(before);
});

test("--self needs nobody's yes: the old token stays on the disk until a connection was made with the new one", async () => {
  const before = stored();
  expect(await rotate("--self")).toMatchObject({ code: 0, json: { ok: true, role: "operator", delivered: true } });
  expect(stored()["token"]).not.toBe(before["token"]);
  expect(stored()).not.toHaveProperty("previous");
  expect(relay.rotations.at(-1)).toEqual({ deviceId: before["deviceId"], role: "operator" });
  expect(await laptop.run(`call health --port ${relay.port} --json`)).toMatchObject({ code: 0 });
});

test("--self whose proof fails keeps both, and the next command takes whichever works", async () => {
  const before = stored();
  relay.shutsAfterRotation = true;
  expect(await rotate("--self")).toMatchObject({
    code: 3,
    json: {
      error: {
        message: expect.stringContaining("the new token is stored, and could not be proven"),
        hint: expect.stringContaining("the old one is kept beside it"),
      },
    },
  });
  relay.shutsAfterRotation = false;
  expect(stored()).toMatchObject({
    token: expect.not.stringMatching(String(before["token"])),
    previous: before["token"],
  });
  expect(await laptop.run(`call health --port ${relay.port} --json`)).toMatchObject({ code: 0 });
  expect(stored()).not.toHaveProperty("previous");
});

test("--all takes one's own last, and keeps it", async () => {
  const before = stored();
  expect(await rotate("--all")).toMatchObject({ code: 2, json: { error: { hint: "add --yes if that is meant" } } });
  const { code, json } = await rotate("--all --yes");
  expect({ code, json }).toMatchObject({
    code: 0,
    json: {
      devices: [
        { name: "kitchen", state: "pending" },
        { role: "operator", state: "confirmed" },
      ],
    },
  });
  expect(stored()["token"]).not.toBe(before["token"]);
  expect(await laptop.run(`call health --port ${relay.port} --json`)).toMatchObject({ code: 0 });
});

test.each([
  ["y", "Rotated the node token of "],
  ["n", "nothing was rotated"],
])("at a terminal it asks first, and %s is an answer", async (key, outcome) => {
  const before = relay.rotations.length;
  const from = node.running.events.items.length;
  const seen = await atTerminal(laptop, `devices rotate kitchen --port ${relay.port}`, "Rotate all the same?", key);
  expect(seen).toContain("kitchen (node) will be cut off");
  expect(seen).toContain(outcome);
  expect(relay.rotations).toHaveLength(before + (key === "y" ? 1 : 0));
  if (key === "y") await node.running.event("ready", from);
});

test("at a terminal each device's progress is seen as it is made", async () => {
  const seen = await atTerminal(home, `devices rotate --all --role node --port ${home.port}`);
  expect(seen).toContain("kitchen (node): confirmed");
  expect(seen).toContain("1 rotated: 1 confirmed, 0 delivered, 0 pending");
});

/** Runs a command at a terminal of its own, by script(1), types `answer` when it has shown `question`, and gives all that was to be seen. */
async function atTerminal(machine: CliHome, line: string, question?: string, answer = ""): Promise<string> {
  const command = `stty cols 400 rows 50; exec ${process.execPath} ${binPath} ${line}`;
  const env = { ...machine.env(), TERM: "xterm" };
  const child = spawn("script", ["-qefc", command, "/dev/null"], { env, stdio: ["pipe", "pipe", "inherit"] });
  onTestFinished(() => void child.kill("SIGKILL")); // one that is still asked something would keep the test's process alive
  let seen = "";
  let isAnswered = question === undefined;
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    seen += chunk;
    if (isAnswered || question === undefined || !seen.includes(question)) return;
    isAnswered = true;
    child.stdin.write(`${answer}\r`);
  });
  await once(child, "close");
  return seen;
}

/** What the laptop's disk holds for the gateway. */
function stored(): Readonly<Record<string, unknown>> {
  const file = readFileSync(laptop.path(".openclaw/toolkit/identity/device-tokens.json"), "utf8");
  const { tokens } = JSON.parse(file) as { readonly tokens: readonly Readonly<Record<string, unknown>>[] };
  const [only = {}] = tokens;
  return only;
}
