/** Much at once: how fast one, ten and a hundred connections are, each way, and what that costs the process that carries it. */
import { cpuMsOf } from "./process-cost.ts";
import { atLeast, atMost, type Row, withoutGoal } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import type { Running } from "./tunnel-programs.ts";
import { type Flow, type Pair, type Target, towardsDialler, towardsTarget, transfer } from "./tunnel-streams.ts";

const rounds = 7;
const bytesAtOnce = 96 * 1024 * 1024;

/** Down is from the server to the target, so that the tunnel decrypts; up the other way. */
const ways = { down: towardsTarget, up: towardsDialler } as const;

type Way = keyof typeof ways;
type Program = "openclaw" | "ssh";

interface Load {
  readonly channels: number;
  readonly way: Way;
  readonly goal: number;
}

interface Cost {
  /** Of the whole transfer. */
  readonly wallMs: number;
  /** Of the process that carries it. */
  readonly cpuMs: number;
}

export async function compareBulk(
  tunnels: Readonly<Record<Program, Running>>,
  target: Target,
  hasAddon: boolean,
): Promise<readonly Row[]> {
  const bulkGoal = hasAddon ? 1.15 : 0.8;
  const loads: readonly Load[] = [
    { channels: 1, way: "down", goal: bulkGoal },
    { channels: 1, way: "up", goal: bulkGoal },
    { channels: 10, way: "down", goal: bulkGoal },
    { channels: 10, way: "up", goal: bulkGoal },
    { channels: 100, way: "down", goal: 1.0 },
    { channels: 100, way: "up", goal: 0.7 },
  ];
  const measured: Measured[] = [];
  for (const channels of new Set(loads.map((load) => load.channels))) {
    const pairs = {
      openclaw: await target.connect(tunnels.openclaw.port, channels),
      ssh: await target.connect(tunnels.ssh.port, channels),
    };
    for (const load of loads.filter((candidate) => candidate.channels === channels)) {
      measured.push({ load, ...(await carry(load, tunnels, pairs)) });
    }
    for (const { dialled, reached } of [...pairs.openclaw, ...pairs.ssh]) {
      dialled.destroy();
      reached.destroy();
    }
  }
  return [...measured.map(rateRow), cpuRow(measured, hasAddon)];
}

interface Measured extends Readonly<Record<Program, readonly Cost[]>> {
  readonly load: Load;
}

/** Both programs in turn, over connections that are open already. */
async function carry(
  { channels, way }: Load,
  tunnels: Readonly<Record<Program, Running>>,
  pairs: Readonly<Record<Program, readonly Pair[]>>,
): Promise<Readonly<Record<Program, readonly Cost[]>>> {
  const bytes = Math.floor(bytesAtOnce / channels);
  const costOf = (program: Program) => async (): Promise<Cost> => {
    const flows: readonly Flow[] = pairs[program].map(ways[way]);
    const { pid } = tunnels[program];
    const before = cpuMsOf(pid);
    const wallMs = await transfer(flows, bytes);
    return { wallMs, cpuMs: cpuMsOf(pid) - before };
  };
  const costs = await takeTurns(rounds, { openclaw: costOf("openclaw"), ssh: costOf("ssh") });
  return { openclaw: costs.get("openclaw") ?? [], ssh: costs.get("ssh") ?? [] };
}

function rateRow(measured: Measured): Row {
  const { channels, way, goal } = measured.load;
  const rateOf = (program: Program) => bytesAtOnce / 1e3 / median(measured[program].map(({ wallMs }) => wallMs));
  const what = channels < 100 ? "bulk -R" : "busy -R";
  const name = `tunnel: ${what}, ${channels} channel${channels === 1 ? "" : "s"} ${way}, openclaw / ssh -R`;
  const detail = `openclaw ${rateOf("openclaw").toFixed(0)} MB/s, ssh ${rateOf("ssh").toFixed(0)} MB/s`;
  return atLeast(goal, name, rateOf("openclaw") / rateOf("ssh"), detail);
}

/** Over all loads but the hundred channels. The goal is the addon's: without it each packet costs several calls into Node.js. */
function cpuRow(measured: readonly Measured[], hasAddon: boolean): Row {
  const bulk = measured.filter(({ load }) => load.channels < 100);
  const secondsPerGb = (program: Program) => {
    const cpuMs = bulk.map((one) => median(one[program].map((cost) => cost.cpuMs)));
    return cpuMs.reduce((sum, ms) => sum + ms, 0) / 1e3 / ((bulk.length * bytesAtOnce) / 1e9);
  };
  const [ours, reference] = [secondsPerGb("openclaw"), secondsPerGb("ssh")];
  const name = "tunnel: CPU per GB of bulk, openclaw / ssh -R";
  const detail = `openclaw ${ours.toFixed(2)} s/GB, ssh ${reference.toFixed(2)} s/GB`;
  if (hasAddon) return atMost(0.8, name, ours / reference, detail);
  return withoutGoal(
    name,
    ours / reference,
    `${detail}; the goal of 0.80 is for ssh2's native addon, which is not here`,
  );
}
