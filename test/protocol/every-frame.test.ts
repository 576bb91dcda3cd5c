/** That the frames of every test are held to the product's schemas (support/every-frame.ts): a watch that sees nothing looks like one that is content. */
import { describe, expect, test } from "vitest";
import { connectGateway } from "../../src/client/connect-gateway.ts";
import { Secret } from "../../src/secret.ts";
import { hello, startScriptedGateway } from "../client/scripted-gateway.ts";
import { FrameCheck, misfits } from "../support/frame-check.ts";
import { deviatesOnPurpose } from "../support/on-purpose.ts";
import type { WireEnd } from "../support/wire-watch.ts";
import { sharedToken, startGateway } from "../support/world.ts";

const connect = (url: string) =>
  connectGateway({
    gateway: { url },
    client: { id: "gateway-client", mode: "backend", version: "1", platform: "linux" },
    role: "operator",
    scopes: ["operator.read"],
    credential: { kind: "token", secret: new Secret(sharedToken) },
    timeoutMs: 10_000,
  });

describe("a test whose frames do not fit fails", () => {
  const ended: string[] = [];

  test.fails("our client sends something wrong, although it is refused", async () => {
    await using world = await startGateway();
    await using session = await connect(world.url);
    await expect(session.request("node.describe", {})).rejects.toMatchObject({ code: "usage" });
    ended.push("sent");
  });

  test.fails("our gateway takes something wrong", async () => {
    await using world = await startGateway();
    const operator = await world.operator();
    expect(await operator.call("node.list", { colour: "green" })).toMatchObject({ nodes: [] });
    ended.push("taken by the gateway");
  });

  test.fails("our client takes something wrong", async () => {
    await using gateway = await startScriptedGateway(() => hello([], { role: "operator" }));
    await using session = await connect(gateway.url);
    expect(session.hello.auth).toMatchObject({ role: "operator" });
    ended.push("taken by the client");
  });

  test.fails("what it announced does not happen", () => {
    deviatesOnPurpose({ "node.list params /colour is not in the schema": "nobody sends it" });
    expect(ended.push("announced")).toBe(4);
  });

  test("and not because of anything else", () => {
    expect(ended).toEqual(["sent", "taken by the gateway", "taken by the client", "announced"]);
  });
});

test("what a test sends and our gateway refuses is nobody's fault", async () => {
  await using world = await startGateway();
  const operator = await world.operator();
  expect(await operator.refused("node.describe", { colour: "green" })).toMatchObject({ code: "INVALID_REQUEST" });
  operator.sendText('{"type":"poem"}');
  expect(await operator.response("invalid")).toMatchObject({ ok: false });
});

test("what was announced may happen", async () => {
  deviatesOnPurpose({ "node.list params /colour is not in the schema": "to see that it may" });
  await using world = await startGateway();
  const operator = await world.operator();
  expect(await operator.call("node.list", { colour: "green" })).toMatchObject({ nodes: [] });
});

const ask = { type: "req", id: "1", method: "node.list", params: { colour: "green" } };
const yes = { type: "res", id: "1", ok: true, payload: {} };
const no = { type: "res", id: "1", ok: false, error: { code: "INVALID_REQUEST", message: "no" } };
const tick = { type: "event", event: "tick", payload: {} };
const poem = { type: "poem" };
const wrongAsk = "node.list params /colour is not in the schema";
const wrongTick = "tick event /ts is missing";

test.each<[WireEnd, from: "client" | "gateway", frames: readonly unknown[], found: readonly string[]]>([
  [{ side: "client", owner: "us" }, "client", [ask], [wrongAsk]],
  [{ side: "client", owner: "us" }, "client", [poem], ["a message of type poem"]],
  [{ side: "client", owner: "us" }, "gateway", [tick], [wrongTick]],
  [{ side: "client", owner: "us" }, "gateway", [poem], []],
  [{ side: "client", owner: "test" }, "client", [ask, no], []],
  [{ side: "client", owner: "test" }, "client", [ask, yes], [wrongAsk]],
  [{ side: "client", owner: "test" }, "client", [ask, ask, no, yes], [wrongAsk]],
  [{ side: "client", owner: "test" }, "gateway", [tick], [wrongTick]],
  [{ side: "client", owner: "test" }, "gateway", [poem], ["a message of type poem"]],
  [{ side: "gateway", owner: "us" }, "client", [ask, no], []],
  [{ side: "gateway", owner: "us" }, "client", [ask, yes], [wrongAsk]],
  [{ side: "gateway", owner: "us" }, "client", [tick, poem], []],
  [{ side: "gateway", owner: "us" }, "gateway", [tick], [wrongTick]],
  [{ side: "gateway", owner: "us" }, "gateway", [poem], ["a message of type poem"]],
  [{ side: "gateway", owner: "test" }, "client", [ask, no], [wrongAsk]],
  [{ side: "gateway", owner: "test" }, "gateway", [tick], [wrongTick]],
  [{ side: "gateway", owner: "test" }, "gateway", [poem], []],
])("at %j the %s says %j", (end, from, frames, found) => {
  const texts = frames.map((frame) => ({
    end,
    from: frame === yes || frame === no ? ("gateway" as const) : from,
    text: JSON.stringify(frame),
  }));
  expect([...new FrameCheck().check(texts).keys()]).toEqual(found);
});

test("an old version's gateway is held to what that version is known to say", () => {
  const answered = (version: string) => {
    const end: WireEnd = { side: "client", owner: "us" };
    const params = {
      minProtocol: 3,
      maxProtocol: 4,
      client: { id: "cli", mode: "cli", version: "1", platform: "linux" },
    };
    return new FrameCheck().check([
      { end, from: "client", text: JSON.stringify({ type: "req", id: "1", method: "connect", params }) },
      { end, from: "gateway", text: JSON.stringify({ type: "res", id: "1", ...hello([], undefined, version) }) },
    ]);
  };
  expect([...answered("2026.3.8").keys()]).toEqual([]);
  expect([...answered("2026.9.6").keys()]).toEqual(["connect result /auth is missing"]);
});

test("a misfit is told with its schema and its frame", () => {
  const found = new Map([[wrongAsk, { schema: "NodeListParams", frame: ask }]]);
  expect(misfits(found, new Set())).toEqual([`${wrongAsk} (NodeListParams): ${JSON.stringify(ask)}`]);
  expect(misfits(found, new Set([wrongAsk]))).toEqual([]);
});
