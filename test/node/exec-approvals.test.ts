import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OpenClawError } from "../../src/errors.ts";
import {
  type Approvals,
  maxApprovalsChars,
  noApprovals,
  policyFor,
  readApprovals,
  readSnapshot,
  replaceApprovals,
} from "../../src/node/exec-approvals.ts";
import type { ExecPolicy } from "../../src/node/exec-policy.ts";
import { approvalsInMemory } from "./handlers/approvals-in-memory.ts";

const hash = (text: string) => createHash("sha256").update(text).digest("hex");

describe("the policy", () => {
  test.each<
    [name: string, approvals: Omit<Approvals, "version">, agentId: string | undefined, want: Partial<ExecPolicy>]
  >([
    ["nothing set: an empty allowlist", {}, undefined, { security: "allowlist", ask: "off", allowlist: [] }],
    [
      "defaults count",
      { defaults: { security: "full", ask: "always" } },
      undefined,
      { security: "full", ask: "always" },
    ],
    [
      "the section for all agents comes before defaults",
      { defaults: { security: "full" }, agents: { "*": { security: "deny" } } },
      undefined,
      { security: "deny" },
    ],
    [
      "a named agent may be stricter",
      { defaults: { security: "full" }, agents: { main: { security: "deny", ask: "always" } } },
      "main",
      { security: "deny", ask: "always" },
    ],
    [
      "claiming to be an agent never makes it laxer",
      { defaults: { security: "deny", ask: "always" }, agents: { main: { security: "full", ask: "off" } } },
      "main",
      { security: "deny", ask: "always" },
    ],
    [
      "another agent's section does not count",
      { agents: { main: { security: "deny", allowlist: ["git"] } } },
      "other",
      { security: "allowlist", allowlist: [] },
    ],
    [
      "allowlists add up",
      { agents: { "*": { allowlist: [{ pattern: "git" }] }, main: { allowlist: ["/opt/x"] } } },
      "main",
      { allowlist: ["git", "/opt/x"] },
    ],
    [
      "the fields that the product writes do not matter",
      {
        agents: {
          "*": {
            allowlist: [
              {
                id: "1",
                pattern: "git",
                lastUsedAt: 5,
                lastUsedCommand: "git status",
                lastResolvedPath: "/usr/bin/git",
              },
            ],
          },
        },
      },
      undefined,
      { allowlist: ["git"] },
    ],
    [
      "an entry with a condition that is unknown here grants nothing",
      { agents: { "*": { allowlist: [{ pattern: "git", argPattern: "^status$" }] } } },
      undefined,
      { allowlist: [] },
    ],
    [
      "an agent called like a property of all objects is nobody",
      { agents: {} },
      "constructor",
      { security: "allowlist", allowlist: [] },
    ],
  ])("%s", (_name, approvals, agentId, want) => {
    expect(policyFor({ version: 1, ...approvals }, agentId)).toMatchObject(want);
  });
});

describe("reading", () => {
  test("no file means nothing is set", async () => {
    expect(await readApprovals(approvalsInMemory())).toEqual(noApprovals);
  });

  test.each([
    ["no JSON", "{"],
    ["empty", ""],
    ["a list", "[]"],
    ["another version", '{"version":2}'],
    ["an unknown security", '{"version":1,"defaults":{"security":"yolo"}}'],
    ["an unknown ask", '{"version":1,"agents":{"*":{"ask":"never"}}}'],
    ["a list of agents", '{"version":1,"agents":[{"security":"deny"}]}'],
    ["defaults that are a list", '{"version":1,"defaults":[]}'],
    ["an allowlist of numbers", '{"version":1,"agents":{"*":{"allowlist":[1]}}}'],
  ])("a file that is %s is an error that names it", async (_name, text) => {
    const file = approvalsInMemory(text);
    await expect(readApprovals(file)).rejects.toMatchObject({
      code: "state-unreadable",
      message: expect.stringContaining(file.path),
    });
    await expect(readSnapshot(file)).rejects.toMatchObject({ code: "state-unreadable" });
    await expect(replaceApprovals(file, { version: 1 }, hash(text))).rejects.toMatchObject({
      code: "state-unreadable",
    });
    expect(file.text()).toBe(text);
  });

  test("a file that cannot be read is an error that names it and keeps the cause", async () => {
    const cause = Object.assign(new Error("no"), { code: "EACCES" });
    const file = { ...approvalsInMemory(), read: () => Promise.reject(cause) };
    await expect(readApprovals(file)).rejects.toMatchObject({
      code: "state-unreadable",
      cause,
      message: expect.stringContaining(file.path),
    });
  });

  test("the snapshot leaves the socket's token out and keeps every other field", async () => {
    const text =
      '{"version":1,"socket":{"path":"/run/x.sock","token":"hush"},"agents":{"*":{"note":"mine"}},"extra":[1]}';
    expect(await readSnapshot(approvalsInMemory(text))).toEqual({
      path: "/state/exec-approvals.json",
      exists: true,
      hash: hash(text),
      file: { version: 1, socket: { path: "/run/x.sock" }, agents: { "*": { note: "mine" } }, extra: [1] },
    });
  });

  test("the snapshot of no file says so", async () => {
    expect(await readSnapshot(approvalsInMemory())).toEqual({
      path: "/state/exec-approvals.json",
      exists: false,
      hash: hash(""),
      file: { version: 1, defaults: {}, agents: {} },
    });
  });
});

describe("replacing", () => {
  const next = {
    version: 1,
    defaults: { security: "allowlist" },
    agents: { "*": { allowlist: [{ pattern: "git" }] } },
    ours: true,
  };

  test("writes what was sent and answers like a read", async () => {
    const file = approvalsInMemory('{"version":1}');
    const snapshot = await replaceApprovals(file, next, hash('{"version":1}'));
    expect(JSON.parse(file.text() ?? "")).toEqual(next);
    expect(snapshot).toEqual(await readSnapshot(file));
    expect(snapshot.hash).toBe(hash(file.text() ?? ""));
  });

  test("needs no hash where there is no file", async () => {
    const file = approvalsInMemory();
    await replaceApprovals(file, next, undefined);
    expect(JSON.parse(file.text() ?? "")).toEqual(next);
  });

  test.each([
    ["another text's hash", hash("else")],
    ["no hash", undefined],
    ["the hash of no file", hash("")],
  ])("%s is a conflict, and nothing is written", async (_name, baseHash) => {
    const file = approvalsInMemory('{"version":1}');
    await expect(replaceApprovals(file, next, baseHash)).rejects.toMatchObject({ code: "conflict" });
    expect(file.text()).toBe('{"version":1}');
  });

  test("of two writers that read the same text one wins and the other is told", async () => {
    const file = approvalsInMemory('{"version":1}');
    const base = hash('{"version":1}');
    const outcomes = await Promise.allSettled([
      replaceApprovals(file, next, base),
      replaceApprovals(file, { ...next, second: 1 }, base),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(JSON.parse(file.text() ?? "")).toEqual(next);
  });

  test("the socket stays this machine's, token included", async () => {
    const text = '{"version":1,"socket":{"path":"/run/x.sock","token":"hush"}}';
    const file = approvalsInMemory(text);
    const sent = { ...next, socket: { path: "/tmp/evil.sock", token: "theirs" } };
    const snapshot = await replaceApprovals(file, sent, hash(text));
    expect(JSON.parse(file.text() ?? "")).toMatchObject({ socket: { path: "/run/x.sock", token: "hush" } });
    expect(JSON.stringify(snapshot)).not.toContain("hush");
  });

  test("a token that is sent is never taken", async () => {
    const file = approvalsInMemory();
    await replaceApprovals(file, { ...next, socket: { path: "/run/y.sock", token: "theirs" } }, undefined);
    expect(file.text()).not.toContain("theirs");
  });

  test.each([[undefined], [null], ["text"], [{ version: 2 }], [{ version: 1, defaults: { security: "maybe" } }]])(
    "%j is refused, and nothing is written",
    async (sent) => {
      const file = approvalsInMemory();
      await expect(replaceApprovals(file, sent, undefined)).rejects.toMatchObject({ code: "usage" });
      expect(file.text()).toBeUndefined();
    },
  );

  test("a file beyond the limit is refused", async () => {
    const huge = { ...next, note: "x".repeat(maxApprovalsChars) };
    await expect(replaceApprovals(approvalsInMemory(), huge, undefined)).rejects.toMatchObject({ code: "usage" });
  });

  test("whatever is sent: it is stored whole, or refused with an error of ours", async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (extra) => {
        const file = approvalsInMemory();
        const sent: unknown = JSON.parse(JSON.stringify({ version: 1, agents: extra, more: extra }));
        const refusal: unknown = await replaceApprovals(file, sent, undefined).then(
          () => undefined,
          (error: unknown) => error,
        );
        const stored: unknown = file.text() === undefined ? undefined : JSON.parse(file.text() ?? "");
        expect(stored).toEqual(refusal === undefined ? sent : undefined);
        expect(refusal === undefined || refusal instanceof OpenClawError).toBe(true);
      }),
    );
  });
});
