/** What a tunnel's process weighs: with a thousand busy connections, and with nothing to do. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { startSshd } from "../test/support/sshd.ts";
import { peakResidentMibOf, residentMibOf } from "./process-cost.ts";
import { atMost, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import type { Start } from "./tunnel-programs.ts";
import { Target, towardsDialler, towardsTarget, transfer } from "./tunnel-streams.ts";

const manyChannels = 1000;
const bytesEachWay = 192 * 1024;

/** A thousand connections that carry something each way at once. Throws when a byte is lost. */
export async function weighBusyTunnel(ours: Start): Promise<Row> {
  await using sshd = await startSshd();
  await using target = await Target.start();
  await using tunnel = await ours({ sshd, direction: "remote", targetPort: target.port });
  const pairs = await target.connect(tunnel.port, manyChannels);
  const tookMs = await transfer([...pairs.map(towardsTarget), ...pairs.map(towardsDialler)], bytesEachWay);
  const peakMib = peakResidentMibOf(tunnel.pid);
  const megabytes = (2 * manyChannels * bytesEachWay) / 1e6;
  const detail = `${megabytes.toFixed(0)} MB, half of it each way, at ${((megabytes / tookMs) * 1e3).toFixed(0)} MB/s; every digest is right`;
  return atMost(300, `tunnel: peak resident memory with ${manyChannels} busy channels, MiB`, peakMib, detail, "MiB");
}

const rounds = 3;
/** What is only needed for the start has time to be given back. */
const settleMs = 2_000;

export async function compareIdleTunnels(ours: Start): Promise<Row> {
  await using sshd = await startSshd();
  await using target = await Target.start();
  const weigh = async (pid: number) => {
    await pause(settleMs);
    return residentMibOf(pid);
  };
  const weights = await takeTurns(rounds, {
    openclaw: async () => {
      await using tunnel = await ours({ sshd, direction: "remote", targetPort: target.port });
      return await weigh(tunnel.pid);
    },
    bare: async () => {
      const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1e6)"], { stdio: "ignore" });
      try {
        return await weigh(child.pid ?? 0);
      } finally {
        child.kill();
        await once(child, "exit");
      }
    },
  });
  const of = (name: "openclaw" | "bare") => median(weights.get(name) ?? []);
  const detail = `openclaw ${of("openclaw").toFixed(1)} MiB, node ${of("bare").toFixed(1)} MiB`;
  return atMost(1.5, "tunnel: resident memory of an idle tunnel / bare node", of("openclaw") / of("bare"), detail);
}
