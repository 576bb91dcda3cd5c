/** Commands at a gateway that listens, and lets nobody in yet. */
import { expect, test } from "vitest";
import { systemRuntime } from "../../src/runtime.ts";
import { type Answer, hello, startScriptedGateway } from "../client/scripted-gateway.ts";
import { CliHome } from "../support/run-cli.ts";
import { impatient } from "../support/world.ts";

const starting = (retryAfterMs?: number): Answer => ({
  ok: false,
  error: {
    code: "UNAVAILABLE",
    message: "gateway starting; retry shortly",
    details: { reason: "startup-sidecars" },
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  },
});

const list = (url: string) => `nodes list --json --verbose --url ${url}`;
const withToken = { env: { OPENCLAW_GATEWAY_TOKEN: "t" } };

test("a gateway that says when it will be there is asked again then", async () => {
  const answers = [starting(500), starting(500)];
  const welcome = hello(["node.list"], { role: "operator", scopes: ["operator.read"] });
  await using gateway = await startScriptedGateway((method) =>
    method === "connect" ? (answers.shift() ?? welcome) : { ok: true, payload: { nodes: [] } },
  );
  using home = new CliHome();
  const result = await home.run(list(gateway.url), { ...withToken, runtime: impatient(systemRuntime) });
  expect(result).toMatchObject({ code: 0, json: { ok: true, nodes: [] } });
  expect(result.stderr.match(/ info gateway starting retryAfterMs=500$/gmu)).toHaveLength(2);
});

test("one that says nothing about when is not asked again", async () => {
  await using gateway = await startScriptedGateway(() => starting());
  using home = new CliHome();
  const result = await home.run(list(gateway.url), withToken);
  expect(result).toMatchObject({ code: 3, json: { error: { code: "starting" } } });
});

test("one that takes longer than the command may is what the command ends with", async () => {
  await using gateway = await startScriptedGateway(() => starting(3_600_000));
  using home = new CliHome();
  const result = await home.run(`${list(gateway.url)} --timeout 1s`, withToken);
  expect(result).toMatchObject({ code: 3, json: { error: { code: "starting" } } });
});

test("a signal ends the waiting as it ends everything", async () => {
  await using gateway = await startScriptedGateway(() => starting(3_600_000));
  using home = new CliHome();
  const running = home.start(list(gateway.url), withToken);
  await running.talk.find((line) => line.includes("gateway starting"));
  expect(await running.stop("SIGINT")).toMatchObject({ code: 130 });
});
