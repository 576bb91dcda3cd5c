/**
 * The built `openclaw tunnel open` beside OpenSSH's `ssh` and autossh, each in a process of its own, through a real sshd on loopback. All
 * take turns in one run. What is carried is compared by digest.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { startSshd } from "../test/support/sshd.ts";
import { hasNativeCrypto } from "../src/ssh/ssh2.ts";
import type { Row } from "./row.ts";
import { stagePackage } from "./stage.ts";
import { temporaryDirectory } from "./temporary-directory.ts";
import { compareBulk } from "./tunnel-bulk.ts";
import { compareIdleTunnels, weighBusyTunnel } from "./tunnel-memory.ts";
import { compareLatency } from "./tunnel-latency.ts";
import { openclaw, ssh, type Start } from "./tunnel-programs.ts";
import { compareRecovery } from "./tunnel-recovery.ts";
import { Target } from "./tunnel-streams.ts";

/** Fails where there is no Linux, no sshd or no ssh; without autossh its rows say so. */
export async function measureTunnel(): Promise<readonly Row[]> {
  demand(existsSync("/proc/self/stat"), "measuring processes needs Linux's /proc");
  demand(has("ssh", "-V"), "ssh is missing: apt-get install --no-install-recommends openssh-client");
  using directory = temporaryDirectory();
  const launcher = stagePackage(directory.path);
  const ours = openclaw(launcher, directory.path);
  const encrypts = hasNativeCrypto() ? "with ssh2's native addon" : "without ssh2's native addon, as npm ci leaves it";
  process.stderr.write(`bench: openclaw runs ${encrypts}\n`);
  return [
    ...(await compareCarrying(ours)),
    await weighBusyTunnel(ours),
    ...(await compareLatency(ours)),
    ...(await compareRecovery(ours, { autossh: has("autossh", "-V") })),
    await compareIdleTunnels(ours),
  ];
}

async function compareCarrying(ours: Start): Promise<readonly Row[]> {
  await using sshd = await startSshd();
  await using target = await Target.start();
  const wanted = { sshd, direction: "remote", targetPort: target.port } as const;
  await using openclaw = await ours(wanted);
  await using reference = await ssh(wanted);
  return await compareBulk({ openclaw, ssh: reference }, target, hasNativeCrypto());
}

function has(program: string, question: string): boolean {
  return spawnSync(program, [question], { stdio: "ignore" }).error === undefined;
}

function demand(condition: boolean, otherwise: string): void {
  if (!condition) throw new Error(otherwise);
}
