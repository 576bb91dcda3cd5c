import { afterAll, beforeAll, expect, test } from "vitest";
import { writeFileSync } from "node:fs";
import { deviatesOnPurpose } from "../support/on-purpose.ts";
import { type GatewayHome, startGatewayHome } from "./world.ts";

let home: GatewayHome;
beforeAll(async () => {
  home = await startGatewayHome();
});
afterAll(() => home[Symbol.asyncDispose]());

test("the result of a method, as JSON in both forms", async () => {
  expect(await home.ask("call health --json")).toMatchObject({
    code: 0,
    json: { ok: true, method: "health", result: { ok: true, ts: expect.any(Number) } },
  });
  const { stdout, code } = await home.ask("call health");
  expect({ code, result: JSON.parse(stdout) }).toMatchObject({ code: 0, result: { ok: true } });
});

test.each([
  ["node.list", "nodes"],
  ["device.pair.list", "paired"],
  ["gateway.identity.get", "deviceId"],
  ["config.get", "config"],
  ["system-presence", ""],
])("call %s asks for the scope it takes by itself", async (method) => {
  expect(await home.ask(`call ${method} --json`)).toMatchObject({ code: 0, json: { ok: true, method } });
});

test("params come from argv, a file or standard input", async () => {
  const id = "0".repeat(64);
  const file = home.path("params.json");
  writeFileSync(file, JSON.stringify({ nodeId: id }));
  for (const [words, stdin] of [
    [`'{"nodeId":"${id}"}'`, ""],
    [`@${file}`, ""],
    ["-", `{"nodeId":"${id}"}`],
  ] as const) {
    expect(await home.ask(`call node.describe --params ${words} --json`, stdin)).toMatchObject({
      code: 9,
      json: { error: { code: "not-found" } },
    });
  }
});

test("a method that is not there", async () => {
  expect(await home.ask("call no.such.method --json")).toMatchObject({
    code: 2,
    json: { ok: false, error: { code: "usage", message: expect.stringContaining("no.such.method") } },
  });
});

test("a scope that was not asked for is missing", async () => {
  expect(await home.ask("call node.list --scope operator.pairing --json")).toMatchObject({
    code: 6,
    json: { error: { code: "scope-missing" } },
  });
});

test("params that make no sense to the method", async () => {
  deviatesOnPurpose({
    "node.describe params /nodeId is missing": "call sends what a person typed",
    "node.describe params /node is not in the schema": "call sends what a person typed",
  });
  expect(await home.ask(`call node.describe --params '{"node":1}' --json`)).toMatchObject({
    code: 2,
    json: { ok: false, error: { code: "usage" } },
  });
});
