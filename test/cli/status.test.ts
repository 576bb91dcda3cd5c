import { expect, test } from "vitest";
import { CliHome } from "../support/run-cli.ts";
import { startGatewayHome } from "./world.ts";

test("a machine with nothing on it says so, and gets nothing by it", async () => {
  using home = new CliHome();
  expect(await home.run("status --json")).toMatchObject({
    code: 0,
    json: { ok: true, deviceId: null, gateways: [], nodes: [], tunnels: [], links: [] },
  });
  expect((await home.run("status")).stdout).toMatch(/^device {7}none yet/mu);
});

test("what runs is there, and where the key is kept", async () => {
  await using gateway = await startGatewayHome();
  const node = await gateway.node("kitchen");
  expect((await gateway.run("status --json")).json).toMatchObject({
    gateways: [{ gateway: gateway.url, state: "ready" }],
  });
  expect((await node.run("status --json")).json).toMatchObject({
    secretStore: { store: "file" },
    nodes: [{ gateway: expect.stringContaining(gateway.url), pid: process.pid }],
  });
  expect((await node.run("status")).stdout).toMatch(/^secrets {6}file/mu);
});
