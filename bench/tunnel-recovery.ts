/**
 * How long a tunnel is of no use after it broke: from the fault to the first connection that reaches its target again. Every measurement
 * starts its program anew, so that none is slowed by what it learnt from the fault before.
 */
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { type Sshd, startSshd } from "../test/support/sshd.ts";
import { type Relay, startRelay } from "../test/tunnel/relay.ts";
import { ownerOf } from "./port-owner.ts";
import { atMost, notMeasured, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import { autossh, type Running, type Start, usable } from "./tunnel-programs.ts";
import { Target } from "./tunnel-streams.ts";

/** Something that breaks the connection between a tunnel and its server. */
interface Fault {
  readonly name: string;
  readonly goal: number;
  /** For a second connection that stands by; absent where the fault hits that one too. */
  readonly spareGoal?: number;
  readonly rounds: number;
  readonly serverConfig: readonly string[];
  readonly openclawOptions: readonly string[];
  readonly autosshOptions: readonly string[];
  /** Finds what is to be hit, which takes its time; what it returns hits. */
  readonly aim: (tunnel: Running, relay: Relay) => () => void;
}

const plain = { rounds: 5, serverConfig: [], openclawOptions: [], autosshOptions: [] };

const faults: readonly Fault[] = [
  {
    ...plain,
    name: "a kill of the server's process",
    goal: 0.45,
    spareGoal: 0.05,
    aim: ({ port }) => {
      const pid = ownerOf(port);
      return () => process.kill(pid, "SIGKILL");
    },
  },
  { ...plain, name: "a reset", goal: 0.45, spareGoal: 0.05, aim: (_tunnel, relay) => () => relay.cutOldest() },
  {
    name: "a silent stall",
    goal: 1.0,
    // Each takes as long as all sides wait for a sign of life: the shortest time that each of them can be told.
    rounds: 3,
    serverConfig: ["ClientAliveInterval 1", "ClientAliveCountMax 1"],
    openclawOptions: ["--keepalive", "1s"],
    autosshOptions: ["-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1"],
    aim: (_tunnel, relay) => () => relay.forget(),
  },
];

export async function compareRecovery(ours: Start, installed: { readonly autossh: boolean }): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const fault of faults) rows.push(...(installed.autossh ? await compareAfter(fault, ours) : absent(fault)));
  return rows;
}

async function compareAfter(fault: Fault, ours: Start): Promise<readonly Row[]> {
  const { rounds, spareGoal, openclawOptions, autosshOptions, aim } = fault;
  await using sshd = await startSshd({ config: fault.serverConfig });
  await using target = await Target.start();
  const recover = (start: Start, options: readonly string[], connections = 1) => {
    return () => timeToRecover({ start, options, connections, sshd, target, aim });
  };
  const times = await takeTurns<Candidate, number>(rounds, {
    openclaw: recover(ours, openclawOptions),
    autossh: recover(autossh, autosshOptions),
    spare: spareGoal === undefined ? () => Promise.resolve(0) : recover(ours, ["--hot-spare"], 2),
  });
  const of = (name: Candidate) => median(times.get(name) ?? []);
  const row = (goal: number, name: Candidate) => {
    const detail = `openclaw ${of(name).toFixed(1)} ms, autossh ${of("autossh").toFixed(1)} ms`;
    return atMost(goal, rowName(fault, name), of(name) / of("autossh"), detail);
  };
  return [row(fault.goal, "openclaw"), ...(spareGoal === undefined ? [] : [row(spareGoal, "spare")])];
}

type Candidate = "openclaw" | "autossh" | "spare";

interface Trial {
  readonly start: Start;
  readonly options: readonly string[];
  /** How many connections the program keeps to the server. */
  readonly connections: number;
  readonly sshd: Sshd;
  readonly target: Target;
  readonly aim: Fault["aim"];
}

/** Milliseconds from the fault to the next greeting of the target. */
async function timeToRecover({ start, options, connections, sshd, target, aim }: Trial): Promise<number> {
  await using relay = await startRelay(sshd.port);
  const loggedIn = sshd.log.filter(isLogin).length;
  await using tunnel = await start({
    sshd,
    sshPort: relay.port,
    direction: "remote",
    targetPort: target.port,
    options,
  });
  while (sshd.log.filter(isLogin).length < loggedIn + connections) await pause(5);
  const [held] = await target.connect(tunnel.port, 1);
  if (held === undefined) throw new Error("nothing was connected");
  // The server says that it let them in before they know it.
  await pause(settleMs);
  const broken = once(held.dialled, "close");
  held.dialled.resume();
  const strike = aim(tunnel, relay);
  const struckAt = performance.now();
  strike();
  // The server keeps its old port, which leads nowhere, until it knows of the fault: dialling that one would only keep it alive.
  await broken;
  await usable(tunnel.port, patienceMs);
  return performance.now() - struckAt;
}

const patienceMs = 60_000;
const settleMs = 250;

function isLogin(line: string): boolean {
  return line.startsWith("Accepted publickey");
}

function absent(fault: Fault): readonly Row[] {
  const missing = "autossh is missing: apt-get install --no-install-recommends autossh";
  const row = (goal: number, name: Candidate) => notMeasured(goal, rowName(fault, name), missing);
  return [row(fault.goal, "openclaw"), ...(fault.spareGoal === undefined ? [] : [row(fault.spareGoal, "spare")])];
}

function rowName({ name }: Fault, candidate: Candidate): string {
  const who = candidate === "spare" ? "openclaw --hot-spare" : "openclaw";
  return `tunnel: usable again after ${name}, ${who} / autossh`;
}
