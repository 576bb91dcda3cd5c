import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startHalfGateway } from "../client/half-gateway.ts";
import { type GatewayHome, type NodeHome, startGatewayHome } from "./world.ts";

let home: GatewayHome;
let node: NodeHome;
let nodeId: string;
beforeAll(async () => {
  home = await startGatewayHome();
  node = await home.node("kitchen", "--allow uname --allow sleep");
  nodeId = String((await node.running.event("ready"))["deviceId"]);
});
afterAll(() => home[Symbol.asyncDispose]());

const which = `'{"bins":["uname"]}'`;

test.each([
  `kitchen system.which --params ${which}`,
  `--node kitchen --command system.which --params ${which}`,
  `--node kitchen system.which --params ${which}`,
  `kitchen --command system.which --params ${which}`,
  `PREFIX system.which --params ${which}`,
  `ID system.which --params ${which}`,
])("invoke %s", async (words) => {
  const line = `nodes invoke ${words.replace("ID", nodeId).replace("PREFIX", nodeId.slice(0, 8))} --json`;
  const { code, json } = await home.ask(line);
  expect({ code, json }).toEqual({
    code: 0,
    json: {
      ok: true,
      nodeId,
      command: "system.which",
      payload: { bins: { uname: expect.stringMatching(/\/uname$/u) } },
      durationMs: expect.any(Number),
    },
  });
});

test("people get the payload, for use in a pipe", async () => {
  const { stdout, code } = await home.ask(`nodes invoke kitchen system.which --params ${which}`);
  expect({ code, payload: JSON.parse(stdout) }).toMatchObject({
    code: 0,
    payload: { bins: { uname: expect.any(String) } },
  });
});

test("the node tells of the invoke that it served", async () => {
  const from = node.running.events.items.length;
  await home.ask(`nodes invoke kitchen system.which --params ${which}`);
  expect(await node.running.event("invoke", from)).toEqual({
    event: "invoke",
    id: expect.any(String),
    command: "system.which",
    ok: true,
    durationMs: expect.any(Number),
  });
});

test("params come from a file, or from standard input", async () => {
  const file = home.path("params.json");
  writeFileSync(file, '{"bins":["uname"]}\n');
  for (const [words, stdin] of [
    [`@${file}`, ""],
    ["-", '{"bins":["uname"]}'],
  ] as const) {
    const { json } = await home.ask(`nodes invoke kitchen system.which --params ${words} --json`, stdin);
    expect(json).toMatchObject({ payload: { bins: { uname: expect.any(String) } } });
  }
});

test("a program that is allowed runs, and its output comes back", async () => {
  const { code, json } = await home.ask(`nodes invoke kitchen system.run --params '{"command":["uname","-s"]}' --json`);
  expect({ code, json }).toMatchObject({
    code: 0,
    json: { payload: { success: true, exitCode: 0, stdout: expect.stringMatching(/^\w+\n$/u) } },
  });
});

test("a program that is not allowed is refused by the node", async () => {
  expect(await home.ask(`nodes invoke kitchen system.run --params '{"command":["id"]}' --json`)).toMatchObject({
    code: 6,
    json: { ok: false, error: { code: "command-not-allowed", message: expect.stringContaining("SYSTEM_RUN_DENIED") } },
  });
});

test("a command that the node does not offer is refused by the gateway", async () => {
  expect(await home.ask("nodes invoke kitchen camera.snap --json")).toMatchObject({
    code: 6,
    json: { error: { code: "command-not-allowed" } },
  });
});

test("a program that takes too long is ended by the node, which says so", async () => {
  const line = `nodes invoke kitchen system.run --params '{"command":["sleep","30"],"timeoutMs":200}' --json`;
  expect(await home.ask(line)).toMatchObject({ code: 0, json: { payload: { timedOut: true, success: false } } });
});

test("a node that does not answer in time", async () => {
  const device = await home.pair({ displayName: "silent" });
  const asleep = await home.connect({ device, displayName: "silent", commands: ["system.which"] });
  await home.ask("nodes approve silent");
  expect(await home.ask("nodes invoke silent system.which --invoke-timeout 200ms --json")).toMatchObject({
    code: 1,
    json: { ok: false, error: { code: "invoke-timeout" } },
  });
  await asleep.client[Symbol.asyncDispose]();
});

test.each([
  ["broken JSON", '{"bins":', "system.which"],
  ["nothing at all", "", "system.info"],
])(
  "an answer that is no JSON, %s, is a failure that names the node and the command",
  async (_what, payloadJSON, command) => {
    await using gateway = await startHalfGateway({
      says: "hello",
      answers: { "node.invoke": { ok: true, nodeId, command, payload: null, payloadJSON } },
    });
    const line = `nodes invoke ${nodeId} ${command} --json --url ${gateway.url}`;
    expect(await home.run(line)).toMatchObject({
      code: 1,
      json: {
        ok: false,
        error: {
          code: "protocol",
          message: `node ${nodeId} answered ${command} with something that is not JSON`,
          details: { nodeId, command, answer: payloadJSON },
        },
      },
    });
  },
);

test("a node of ours whose answer is no JSON fails through our gateway too", async () => {
  const device = await home.pair({ displayName: "babbling" });
  const { client } = await home.connect({ device, displayName: "babbling", commands: ["system.which"] });
  await home.ask("nodes approve babbling");
  const invoked = home.ask("nodes invoke babbling system.which --json");
  const { id } = (await client.event("node.invoke.request")).payload as { id: string };
  await client.request("node.invoke.result", { id, nodeId: device.id, ok: true, payloadJSON: "so, well" });
  expect(await invoked).toMatchObject({ code: 1, json: { ok: false, error: { code: "protocol" } } });
  await client[Symbol.asyncDispose]();
});

test("an answer that a gateway passes on as text alone is read", async () => {
  await using gateway = await startHalfGateway({
    says: "hello",
    answers: { "node.invoke": { ok: true, nodeId, command: "system.info", payloadJSON: '{"os":"x"}' } },
  });
  const line = `nodes invoke ${nodeId} system.info --json --url ${gateway.url}`;
  expect(await home.run(line)).toMatchObject({ code: 0, json: { payload: { os: "x" } } });
});

test("a node that is not connected", async () => {
  const away = await home.node("away");
  await away.running.stop();
  expect(await home.ask("nodes invoke away system.info --json")).toMatchObject({
    code: 3,
    json: { error: { code: "node-offline" } },
  });
});

test("the same idempotency key runs once", async () => {
  const line = `nodes invoke kitchen system.info --idempotency-key once --json`;
  const from = node.running.events.items.length;
  const [first, second] = await Promise.all([home.ask(line), home.ask(line)]);
  expect(first.code).toBe(0);
  expect(second.code).toBe(0);
  await home.ask(`nodes invoke kitchen system.which --params ${which}`);
  await node.running.event("invoke", from, { command: "system.which" });
  const served = node.running.events.items.slice(from).filter((event) => event["command"] === "system.info");
  expect(served).toHaveLength(1);
});

test("a node that does not exist", async () => {
  expect(await home.ask("nodes invoke nobody system.info --json")).toMatchObject({
    code: 9,
    json: { error: { code: "not-found" } },
  });
});
