/** `kill -9` in the middle of the writing, many times over: whatever the gateway had acknowledged is found again. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "rolldown";
import { expect, test } from "vitest";
import { hashSecret } from "../../src/secret.ts";
import type { DeviceRecord } from "../../src/pairing/records.ts";
import { openSqliteStore } from "../../src/store/sqlite-store.ts";
import { temporaryStore } from "../support/world.ts";

const lives = 200;

interface Promised {
  readonly approved?: string;
  readonly device?: string;
  readonly token?: string;
}

test(
  `${lives} times killed in the middle of a write, nothing that was acknowledged is lost`,
  { timeout: 300_000 },
  async () => {
    using store = temporaryStore();
    const program = await bundle(dirname(store.path));
    const approved = new Set<string>();
    const tokens = new Map<string, string[]>();
    const remember = ({ approved: id, device, token }: Promised) => {
      if (id !== undefined) approved.add(id);
      if (device !== undefined && token !== undefined) tokens.set(device, [...(tokens.get(device) ?? []), token]);
    };
    let next = 0;
    const liveOn = async () => {
      while (next < lives) for (const promised of await liveAndDie(program, store.path, next++)) remember(promised);
    };
    // Two gateways at a time share the store, so that one often dies while the other waits for it.
    await Promise.all([liveOn(), liveOn()]);

    await using records = await openSqliteStore(store.path);
    const devices = await records.all<DeviceRecord>("devices");
    const audit = await records.tail<AuditLine>("audit", 100_000);
    const rotations = (id: string) =>
      audit.filter(({ action, device }) => action === "token.rotate" && device === id).length;
    const lost = [...approved].filter((id) => devices.get(id)?.approvedVia !== "owner");
    const forgotten = [...tokens].filter(([id, known]) => !isKept(devices.get(id), known, rotations(id)));
    expect({ lost, forgotten }).toEqual({ lost: [], forgotten: [] });
    expect(approved.size).toBeGreaterThanOrEqual(lives);
    expect(tokens.size).toBeGreaterThan(lives / 4);
  },
);

interface AuditLine {
  readonly action: string;
  readonly device: string;
}

/** The last token that was acknowledged is in force, unless one more rotation reached the disk and died before its answer was out. */
function isKept(device: DeviceRecord | undefined, acknowledged: readonly string[], rotations: number): boolean {
  if (rotations === acknowledged.length + 1) return true;
  const hash = device?.tokens["node"]?.hash;
  return rotations === acknowledged.length && hash === hashSecret(acknowledged.at(-1) ?? "");
}

/** One file starts in a fraction of the time that a hundred modules take, and there are many starts. */
async function bundle(directory: string): Promise<string> {
  const outfile = join(directory, "crash-gateway.mjs");
  const input = fileURLToPath(new URL("../support/crash-gateway.ts", import.meta.url));
  await build({ input, platform: "node", output: { file: outfile, format: "esm", codeSplitting: false } });
  return outfile;
}

/** One life: it ends after a number of promises that differs from life to life, wherever the gateway then is. */
async function liveAndDie(program: string, storePath: string, life: number): Promise<readonly Promised[]> {
  const child = spawn(process.execPath, [program, storePath, String(life)], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const promised: Promised[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    promised.push(JSON.parse(line) as Promised);
    if (promised.length === 1 + (life % 7)) child.kill("SIGKILL");
  }
  expect((await exited)[1]).toBe("SIGKILL");
  return promised;
}
