/** `kill -9` at every step of joining with an invite: it is used and the device approved, or neither; and the node gets in all the same. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "rolldown";
import { expect, test } from "vitest";
import { createGateway } from "../../src/gateway/index.ts";
import { type NodeEvent, runNode } from "../../src/node/index.ts";
import type { InviteRecord } from "../../src/pairing/invites.ts";
import type { DeviceRecord } from "../../src/pairing/records.ts";
import { hashSecret, Secret } from "../../src/secret.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { crashIdentity, crashToken, crashTokenKey, tokenInFile } from "../support/crash-invite-parts.ts";
import { temporaryStore } from "../support/world.ts";

/** More than there are: the test says so if there are not. */
const maxSteps = 60;

test(
  "whichever step it dies at, the invite is used by an approved device or by none, and the node is in at the next start",
  { timeout: 300_000 },
  async () => {
    using programs = temporaryStore();
    const program = await bundle(dirname(programs.path));
    const seen = { unused: 0, used: 0, usedWithoutToken: 0 };
    for (let killAt = 1; ; killAt++) {
      expect(killAt).toBeLessThan(maxSteps);
      using store = temporaryStore();
      const tokenFile = join(dirname(store.path), "token");
      const { secret, isDone } = await joinAndDie(program, store.path, tokenFile, killAt);
      const isUsed = await stateAfter(store.path, secret);
      if (!isUsed) seen.unused++;
      else if (existsSync(tokenFile)) seen.used++;
      else seen.usedWithoutToken++;
      await comeBack(store.path, tokenFile, secret);
      if (isDone) break;
    }
    // Each of the three was met: before the commit, between it and the token's file, and after that.
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0);
  },
);

/** One life of the process that is killed. */
async function joinAndDie(program: string, storePath: string, tokenFile: string, killAt: number) {
  const child = spawn(process.execPath, [program, storePath, tokenFile, String(killAt)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  let secret = "";
  let isDone = false;
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as { readonly secret?: string; readonly done?: boolean };
    secret = said.secret ?? secret;
    isDone ||= said.done === true;
  }
  expect((await exited)[1]).toBe(isDone ? null : "SIGKILL");
  return { secret, isDone };
}

/** True when the invite is used. Everything that goes with that must be there then, and nothing of it otherwise. */
async function stateAfter(storePath: string, secret: string): Promise<boolean> {
  await using records = await openSqliteStore(storePath);
  const [invite] = (await records.all<InviteRecord>("invites")).values();
  const device = (await records.all<DeviceRecord>("devices")).get(crashIdentity.deviceId);
  const audit = (await records.tail<{ readonly action: string }>("audit", 100)).map(({ action }) => action);
  expect(invite?.secretHash).toBe(hashSecret(secret));
  const isUsed = invite?.usedAtMs !== undefined;
  expect({ usedBy: invite?.usedBy, audited: audit.includes("invite.use") }).toEqual({
    usedBy: isUsed ? crashIdentity.deviceId : undefined,
    audited: isUsed,
  });
  const whole = expect.objectContaining({
    roles: ["node"],
    approvedVia: "bootstrap",
    surface: expect.objectContaining({ commands: ["system.which"] }),
    tokens: { node: expect.objectContaining({ hash: expect.any(String) }) },
  });
  expect(device).toEqual(isUsed ? whole : undefined);
  return isUsed;
}

/** The node starts again as it was started before, against the gateway on the same store. */
async function comeBack(storePath: string, tokenFile: string, secret: string): Promise<void> {
  await using gateway = await createGateway({ store: storePath, tokenKey: crashTokenKey, auth: { token: crashToken } });
  const events: NodeEvent[] = [];
  await runNode({
    gateway: { url: gateway.url },
    identity: crashIdentity,
    handlers: { "system.which": async () => ({}) },
    credentials: { bootstrap: new Secret(secret) },
    memory: tokenInFile(tokenFile),
    once: true,
    wait: false,
    onEvent: (event) => events.push(event),
  });
  expect(events.find(({ event }) => event === "ready")).toMatchObject({ commands: ["system.which"] });
  expect(existsSync(tokenFile)).toBe(true);
}

/** One file starts in a fraction of the time that a hundred modules take, and there are many starts. */
async function bundle(directory: string): Promise<string> {
  const outfile = join(directory, "crash-invite.mjs");
  const input = fileURLToPath(new URL("../support/crash-invite.ts", import.meta.url));
  await build({ input, platform: "node", output: { file: outfile, format: "esm", codeSplitting: false } });
  return outfile;
}
