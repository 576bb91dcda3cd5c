/** How long a person waits for the CLI, beside a Node.js that starts and does nothing. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { atMost, type Row } from "./row.ts";
import { median, takeTurns } from "./rounds.ts";
import { stagePackage } from "./stage.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const rounds = 15;
const serverRounds = 7;

const helpOf = ["", "devices", "nodes invoke", "tunnel open", "gateway run"];

export async function measureStartup(): Promise<readonly Row[]> {
  using directory = temporaryDirectory();
  const launcher = stagePackage(directory.path);
  // Nothing of the caller's: neither settings nor state.
  const env = { PATH: process.env["PATH"], HOME: directory.path, OPENCLAW_STATE_DIR: `${directory.path}/state` };
  const port = await deadPort();
  return [
    ...(await compareCommands(launcher, env, port)),
    ...(await compareServers(launcher, env, fileURLToPath(new URL("./bare-ready.js", import.meta.url)))),
  ];
}

async function compareCommands(launcher: string, env: NodeJS.ProcessEnv, port: number): Promise<readonly Row[]> {
  const cli = (words: string, exitCode = 0) => {
    const args = [launcher, ...words.split(" ").filter((word) => word !== "")];
    return () => timeToExit(args, env, exitCode);
  };
  const helps = helpOf.map((words) => [`${words} --help`, cli(`${words} --help`)] as const);
  const times = await takeTurns<string, number>(rounds, {
    bare: () => timeToExit(["-e", "0"], env, 0),
    version: cli("--version"),
    ...Object.fromEntries(helps),
    unreachable: cli(`devices list --port ${port} --token nobody-asks`, 3),
  });
  const of = (name: string) => median(times.get(name) ?? []);
  const row = (goal: number, what: string, name: string) => {
    const detail = `${of(name).toFixed(1)} ms, node -e 0 ${of("bare").toFixed(1)} ms`;
    return atMost(goal, `startup: ${what} / node -e 0`, of(name) / of("bare"), detail);
  };
  const [slowest = ""] = helps.map(([name]) => name).toSorted((a, b) => of(b) - of(a));
  return [
    row(1.3, "--version", "version"),
    row(1.5, `the slowest --help of ${helps.length}, "${slowest.trim()}"`, slowest),
    row(1.8, "devices list on a dead port", "unreachable"),
  ];
}

/** Milliseconds from the start of a process to its end. */
async function timeToExit(args: readonly string[], env: NodeJS.ProcessEnv, exitCode: number): Promise<number> {
  const startedAt = performance.now();
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.resume();
  child.stderr.resume();
  const [code] = await once(child, "close");
  if (code !== exitCode) throw new Error(`${args.join(" ")} ended with ${code}, not ${exitCode}`);
  return performance.now() - startedAt;
}

async function compareServers(launcher: string, env: NodeJS.ProcessEnv, bareServer: string): Promise<readonly Row[]> {
  const gatewayRun = [launcher, "gateway", "run", "--ephemeral", "--port", "0", "--json"];
  const starts = await takeTurns(serverRounds, {
    gateway: () => startAndStop(gatewayRun, env),
    server: () => startAndStop([bareServer], env),
    bare: async () => ({ readyMs: await timeToExit(["-e", "0"], env, 0), residentKib: 0 }),
  });
  const of = (name: "gateway" | "server" | "bare", pick: (start: Start) => number) =>
    median((starts.get(name) ?? []).map(pick));
  const ready = ({ readyMs }: Start) => readyMs;
  const resident = ({ residentKib }: Start) => residentKib;
  const mib = (kib: number) => `${(kib / 1024).toFixed(1)} MiB`;
  return [
    atMost(
      6,
      "startup: gateway run until it is ready / node -e 0",
      of("gateway", ready) / of("bare", ready),
      `${of("gateway", ready).toFixed(1)} ms, node -e 0 ${of("bare", ready).toFixed(1)} ms`,
    ),
    atMost(
      1.2,
      "startup: resident memory of a ready gateway / node:http with ws",
      of("gateway", resident) / of("server", resident),
      `${mib(of("gateway", resident))}, node:http with ws ${mib(of("server", resident))}`,
    ),
  ];
}

interface Start {
  readonly readyMs: number;
  readonly residentKib: number;
}

/** Starts a server, waits for the first line it prints, weighs it, and stops it. */
async function startAndStop(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Start> {
  const startedAt = performance.now();
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "inherit"] });
  const closed = once(child, "close");
  try {
    const [line] = await Promise.race([once(child.stdout, "data"), closed]);
    if (!String(line).includes("ready")) throw new Error(`${args.join(" ")} is not ready but says: ${String(line)}`);
    return { readyMs: performance.now() - startedAt, residentKib: residentKib(child.pid) };
  } finally {
    child.kill();
    await closed;
  }
}

/** What ps(1) calls rss. */
function residentKib(pid: number | undefined): number {
  return Number(execFileSync("ps", ["-o", "rss=", "-p", String(pid)], { encoding: "utf8" }));
}

/** A port of loopback on which nobody listens: one that was free a moment ago. */
async function deadPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("a TCP server has a port");
  return address.port;
}
