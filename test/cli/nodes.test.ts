/** nodes list, describe, pending, approve, reject and rename. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { version } from "../../src/version.ts";
import { type GatewayHome, NodeHome, startGatewayHome, succeed } from "./world.ts";

let home: GatewayHome;
let kitchenId: string;
beforeAll(async () => {
  home = await startGatewayHome();
  const kitchen = await home.node("kitchen");
  kitchenId = String((await kitchen.running.event("ready"))["deviceId"]);
});
afterAll(() => home[Symbol.asyncDispose]());

/** A node whose device is approved and whose command list waits. */
async function halfApproved(name: string) {
  const node = new NodeHome(home, `--display-name ${name}`);
  await succeed(home.paste((await node.running.event("pairing-required", 0, { layer: "device" }))["approve"]));
  const asked = await node.running.event("pairing-required", 0, { layer: "surface" });
  return {
    node,
    requestId: String(asked["requestId"]),
    approve: String(asked["approve"]),
    nodeId: String(asked["deviceId"]),
  };
}

test.each(["nodes list", "nodes status"])("%s shows every promised key", async (line) => {
  const { code, json } = await home.ask(`${line} --json`);
  expect({ code, json }).toMatchObject({
    code: 0,
    json: {
      ok: true,
      nodes: expect.arrayContaining([
        expect.objectContaining({
          nodeId: kitchenId,
          displayName: "kitchen",
          platform: process.platform,
          version,
          connected: true,
          paired: true,
          caps: ["system"],
          commands: expect.arrayContaining(["system.run"]),
          lastConnectedAtMs: expect.any(Number),
          remoteIp: "127.0.0.1",
        }),
      ]),
    },
  });
  const { stdout } = await home.ask(line);
  expect(stdout).toMatch(new RegExp(`${kitchenId} +kitchen +${process.platform} +yes +system\\.`, "u"));
});

test("without nodes the list says so", async () => {
  await using empty = await startGatewayHome();
  expect(await empty.ask("nodes list")).toMatchObject({ code: 0, stdout: "No nodes are paired.\n" });
  expect(await empty.ask("nodes pending")).toMatchObject({ code: 0, stdout: "No command list waits for approval.\n" });
});

test.each(["kitchen", "--node kitchen", "--node PREFIX", "ID"])("describe %s", async (words) => {
  const line = `nodes describe ${words.replace("ID", kitchenId).replace("PREFIX", kitchenId.slice(0, 6))}`;
  expect(await home.ask(`${line} --json`)).toMatchObject({
    code: 0,
    json: { ok: true, nodeId: kitchenId, displayName: "kitchen", connected: true, ts: expect.any(Number) },
  });
  expect((await home.ask(line)).stdout).toContain(`kitchen (${kitchenId})\n  platform    ${process.platform}`);
});

test.each(["nobody", "0".repeat(64)])("describing a node that is not there: %s", async (wanted) => {
  expect(await home.ask(`nodes describe ${wanted} --json`)).toMatchObject({
    code: 9,
    json: { error: { code: "not-found" } },
  });
});

test("a node's name can be changed", async () => {
  await home.node("hall");
  expect(await home.ask("nodes rename hall foyer --json")).toMatchObject({
    code: 0,
    json: { ok: true, displayName: "foyer" },
  });
  expect(await home.ask("nodes describe foyer --json")).toMatchObject({ code: 0, json: { displayName: "foyer" } });
});

test("a command list that waits is shown, approved by what the node printed, and then the node is ready", async () => {
  const { node, requestId, approve, nodeId } = await halfApproved("study");
  await using _node = node;
  expect(await home.ask("nodes pending --json")).toMatchObject({
    code: 0,
    json: {
      ok: true,
      pending: [
        {
          requestId,
          nodeId,
          deviceId: nodeId,
          displayName: "study",
          layer: "surface",
          commands: expect.arrayContaining(["system.run"]),
          fingerprint: expect.any(String),
        },
      ],
    },
  });
  expect((await home.ask("nodes pending")).stdout).toContain(requestId);
  expect(await home.ask("nodes invoke study system.info --json")).toMatchObject({
    code: 5,
    json: { error: { code: "surface-approval-required" } },
  });
  expect(await home.ask("nodes approve --json")).toMatchObject({
    code: 5,
    json: { error: { code: "approval-unconfirmed", fix: `openclaw nodes approve ${requestId} --port ${home.port}` } },
  });
  expect(await home.paste(approve)).toMatchObject({ code: 0, stdout: expect.stringContaining("Approved for study: ") });
  await node.running.event("ready");
  expect(await home.ask(`nodes approve ${requestId} --json`)).toMatchObject({
    code: 9,
    json: { error: { code: "not-found" } },
  });
});

test("--latest --yes approves the newest command list", async () => {
  const { node, requestId } = await halfApproved("den");
  await using _node = node;
  expect(await home.ask("nodes approve --latest --yes --json")).toMatchObject({
    code: 0,
    json: { ok: true, requestId },
  });
  await node.running.event("ready");
});

test("a rejected command list ends the node with its reason", async () => {
  const { node, requestId } = await halfApproved("shed");
  await using _node = node;
  expect(await home.ask(`nodes reject ${requestId} --reason 'no system.run here' --json`)).toMatchObject({
    code: 0,
    json: { ok: true, requestId },
  });
  const { code, stdout } = await node.running.ended;
  expect(code).toBe(5);
  expect(stdout).toContain("no system.run here");
  expect(stdout).toContain('"code":"pairing-rejected"');
});
