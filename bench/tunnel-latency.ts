/** Little at a time: how long a new connection takes until its target greets, and a byte until it is back. */
import { setTimeout as pause } from "node:timers/promises";
import { startSshd } from "../test/support/sshd.ts";
import { atMost, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import { ssh, type Start } from "./tunnel-programs.ts";
import { dial, type Pair, Target } from "./tunnel-streams.ts";

/** Many, because a tunnel lives for days, and V8 is done with compiling it after the first seven hundred connections. */
const rounds = 12;
const opensPerRound = 200;
/** Fewer, because each takes the 40 ms for which two clocks of TCP wait for each other. */
const slowOpensPerRound = 20;
/** Many short rounds, because which core serves whom changes every few seconds. */
const tripRounds = 25;
const tripsPerRound = 500;
/**
 * Between the end of one connection and the next, so that neither is in the other's way. Shorter than the 40 ms for which a system holds
 * back an acknowledgement, which sshd waits for.
 */
const restMs = 1;

export async function compareLatency(ours: Start): Promise<readonly Row[]> {
  await using sshd = await startSshd();
  await using target = await Target.start();
  const wanted = { sshd, direction: "remote", targetPort: target.port } as const;
  await using openclaw = await ours(wanted);
  await using reference = await ssh(wanted);
  const opens = await takeTurns(rounds, {
    openclaw: () => openMany(target, openclaw.port, opensPerRound),
    ssh: () => openMany(target, reference.port, slowOpensPerRound),
  });
  const trips = await compareTrips(target, openclaw.port, reference.port);
  return [...openRows((opens.get("openclaw") ?? []).flat(), (opens.get("ssh") ?? []).flat()), trips];
}

function openRows(ours: readonly number[], theirs: readonly number[]): readonly Row[] {
  const row = (goal: number, share: number, label: string) => {
    const [our, their] = [quantile(ours, share), quantile(theirs, share)];
    const detail = `openclaw ${our.toFixed(2)} ms, ssh ${their.toFixed(2)} ms`;
    return atMost(goal, `tunnel: channel open ${label}, openclaw / ssh -N -R`, our / their, detail);
  };
  return [row(0.02, 0.5, "p50"), row(0.12, 0.99, "p99")];
}

/** Milliseconds from dialling to the target's greeting, one connection after the other. */
async function openMany(target: Target, port: number, count: number): Promise<readonly number[]> {
  const times: number[] = [];
  while (times.length < count) {
    const startedAt = performance.now();
    const socket = await dial(port);
    times.push(performance.now() - startedAt);
    socket.destroy();
    await target.left();
    await pause(restMs);
  }
  return times;
}

async function compareTrips(target: Target, ourPort: number, theirPort: number): Promise<Row> {
  const [ours] = await target.connect(ourPort, 1);
  const [theirs] = await target.connect(theirPort, 1);
  if (ours === undefined || theirs === undefined) throw new Error("nothing was connected");
  const trips = await takeTurns(tripRounds, { openclaw: () => tripMs(ours), ssh: () => tripMs(theirs) });
  const of = (name: "openclaw" | "ssh") => median(trips.get(name) ?? []);
  const micros = (ms: number) => `${(ms * 1000).toFixed(0)} us`;
  const detail = `openclaw ${micros(of("openclaw"))}, ssh ${micros(of("ssh"))}`;
  return atMost(1.15, "tunnel: round trip p50, 1 channel, openclaw / ssh -R", of("openclaw") / of("ssh"), detail);
}

/** The median of many round trips of one byte, which the target's end sends back. */
async function tripMs({ dialled, reached }: Pair): Promise<number> {
  const sendBack = (byte: Buffer) => reached.write(byte);
  reached.on("data", sendBack).resume();
  const times: number[] = [];
  await new Promise<void>((resolve) => {
    let sentAt = 0;
    const send = () => {
      sentAt = performance.now();
      dialled.write(byte);
    };
    const receive = () => {
      times.push(performance.now() - sentAt);
      if (times.length < tripsPerRound) return send();
      dialled.off("data", receive);
      return resolve();
    };
    dialled.on("data", receive).resume();
    send();
  });
  reached.off("data", sendBack);
  return median(times);
}

const byte = Buffer.from("?");

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  if (value === undefined) throw new RangeError("a quantile of nothing");
  return value;
}
