import { expect, test } from "vitest";
import { type LogFields, systemRuntime } from "../../../src/runtime.ts";
import { approvalsText, startNode } from "./node.ts";

const get = (node: ReturnType<typeof startNode>) =>
  node.invoke("system.execApprovals.get") as Promise<{ hash: string; exists: boolean; file: Record<string, unknown> }>;

test("what was read can be changed and put back", async () => {
  const node = startNode({ approvals: approvalsText("deny") });
  const { hash, file } = await get(node);
  const changed = { ...file, defaults: { security: "allowlist" } };
  const answer = await node.invoke("system.execApprovals.set", { file: changed, baseHash: hash });
  expect(answer).toMatchObject({ exists: true, file: changed });
  expect(await get(node)).toEqual(answer);
});

test("a set on an old hash is INVALID_REQUEST and says that they changed", async () => {
  const node = startNode({ approvals: approvalsText("deny") });
  await expect(
    node.invoke("system.execApprovals.set", { file: { version: 1 }, baseHash: "0".repeat(64) }),
  ).rejects.toMatchObject({
    code: "INVALID_REQUEST",
    message: expect.stringMatching(/changed since they were read.*again/u),
  });
});

test("a set without the hash of the file that is there is INVALID_REQUEST", async () => {
  const node = startNode({ approvals: approvalsText("deny") });
  await expect(node.invoke("system.execApprovals.set", { file: { version: 1 } })).rejects.toMatchObject({
    code: "INVALID_REQUEST",
  });
});

test("a file of the wrong shape is INVALID_REQUEST and names the place", async () => {
  const file = { version: 1, agents: { main: { security: "anything" } } };
  await expect(startNode().invoke("system.execApprovals.set", { file })).rejects.toMatchObject({
    code: "INVALID_REQUEST",
    message: expect.stringContaining("agents.main.security"),
  });
});

test("a file on disk that is not ours is UNAVAILABLE, names the file and stays", async () => {
  const node = startNode({ approvals: "not json" });
  const wanted = { code: "UNAVAILABLE", message: expect.stringContaining("/state/exec-approvals.json") };
  await expect(get(node)).rejects.toMatchObject(wanted);
  await expect(node.invoke("system.execApprovals.set", { file: { version: 1 } })).rejects.toMatchObject(wanted);
  expect(node.file.text()).toBe("not json");
});

test("a change by the gateway is logged", async () => {
  const lines: [message: string, fields: LogFields | undefined][] = [];
  const runtime = {
    ...systemRuntime,
    log: (_level: string, message: string, fields?: LogFields) => void lines.push([message, fields]),
  };
  await startNode({ context: { runtime } }).invoke("system.execApprovals.set", { file: { version: 1 } });
  expect(lines).toEqual([
    [expect.stringContaining("exec approvals"), expect.objectContaining({ path: "/state/exec-approvals.json" })],
  ]);
});
