/** Ending what served an earlier connection of ours, and nothing else. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { connectSsh } from "../../src/ssh/connect.ts";
import { endSession, type ServerSession } from "../../src/ssh/server-session.ts";
import { startSshd } from "../support/sshd.ts";
import { optionsFor } from "../tunnel/world.ts";

const server = startSshd({ config: ["SetEnv SHLVL=5"] });
afterAll(async () => (await server)[Symbol.asyncDispose]());

/** Name and start of a process, as the server tells them. */
function sessionOf(pid: number): ServerSession {
  const [, name = "", fields = ""] = /^\d+ (\(.*\)) (.*)/u.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
  return { pid, identity: `${name} ${fields.split(" ")[19] ?? ""}` };
}

test("a process that is still the same is told to end", async () => {
  await using connection = await connectSsh(optionsFor(await server));
  const child = spawn("sleep", ["600"]);
  await once(child, "spawn");
  const ended = once(child, "exit");
  expect(await endSession(connection.client, sessionOf(child.pid ?? 0))).toBe(true);
  expect(await ended).toEqual([null, "SIGTERM"]);
});

test("another process that has its number is left alone, and one that is gone is over", async () => {
  await using connection = await connectSsh(optionsFor(await server));
  const child = spawn("sleep", ["600"]);
  await once(child, "spawn");
  const ended = once(child, "exit");
  const session = sessionOf(child.pid ?? 0);
  expect(await endSession(connection.client, { ...session, identity: "(sshd) 1" })).toBe(true);
  expect(child.exitCode ?? child.signalCode).toBeNull();
  child.kill("SIGKILL");
  expect(await ended).toEqual([null, "SIGKILL"]);
  expect(await endSession(connection.client, session)).toBe(true);
});

test("a connection that is lost meanwhile leaves it open", async () => {
  const connection = await connectSsh(optionsFor(await server));
  const answer = endSession(connection.client, sessionOf(process.pid));
  connection.socket.destroy();
  expect(await answer).toBe(false);
  await connection.close();
  expect(await endSession(connection.client, sessionOf(process.pid))).toBe(false);
});
