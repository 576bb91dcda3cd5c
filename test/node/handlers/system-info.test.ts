import { expect, test } from "vitest";
import { startNode } from "./node.ts";

test("system.info describes the machine", async () => {
  const info = await startNode({ displayName: "kitchen" }).invoke("system.info");
  expect(info).toMatchObject({
    displayName: "kitchen",
    hostname: expect.any(String),
    platform: process.platform,
    arch: process.arch,
    nodeVersion: process.versions.node,
    uptimeMs: expect.any(Number),
    loadAverage: [expect.any(Number), expect.any(Number), expect.any(Number)],
  });
  expect(JSON.parse(JSON.stringify(info))).toEqual(info);
});

test("system.info tells nothing of the environment", async () => {
  const env = { PATH: "/usr/bin", HOME: "/", OPENCLAW_GATEWAY_TOKEN: "t0p-s3cret" };
  expect(JSON.stringify(await startNode({ env }).invoke("system.info"))).not.toContain("t0p-s3cret");
});
