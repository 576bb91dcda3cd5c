/**
 * `npm run soak:link [-- --calls 1000 --cuts 10 --rotations 20]`: two gateways linked through a real sshd, called in both directions all the
 * time while the connection is cut and both nodes' tokens are rotated. Prints a line for what happens and a table at the end; exit 0
 * when no call was answered wrongly, none that was acknowledged was lost, and each interruption was over soon enough.
 */
import { parseArgs } from "node:util";
import { connectGateway } from "../../src/client/connect-gateway.ts";
import type { GatewaySession } from "../../src/client/gateway-session.ts";
import { isFailure } from "../../src/errors.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { Secret } from "../../src/secret.ts";
import { version } from "../../src/version.ts";
import { at } from "../support/raw-client.ts";
import { binPath, CliHome, SpawnedCli } from "../support/run-cli.ts";
import { type Sshd, startSshd } from "../support/sshd.ts";

const { values } = parseArgs({
  options: {
    calls: { type: "string", default: "1000" },
    cuts: { type: "string", default: "10" },
    rotations: { type: "string", default: "20" },
  },
});
const [callsWanted, cuts, rotations] = [values.calls, values.cuts, values.rotations].map(Number) as [
  number,
  number,
  number,
];

/** Milliseconds that an interruption may last once the path is back. */
const longestInterruptionMs = 2_000;
const overlapMs = 60_000;
/** Programs that every system has: the answer says which one was asked about. */
const programs = ["sh", "cat", "ls", "cp", "mv", "rm", "ps", "env"];

/** A machine with a gateway, and a session with that gateway as its owner has it. */
class Machine implements AsyncDisposable {
  readonly home: CliHome;
  readonly session: GatewaySession;
  readonly #gateway: SpawnedCli;

  private constructor(home: CliHome, gateway: SpawnedCli, session: GatewaySession) {
    this.home = home;
    this.#gateway = gateway;
    this.session = session;
  }

  static async start(): Promise<Machine> {
    const home = new CliHome();
    const gateway = home.spawn("gateway run --port 0 --json");
    const { url } = await gateway.event("ready");
    const { json } = await home.run("gateway token --show --json");
    const session = await connectGateway({
      gateway: { url: String(url) },
      client: { id: "gateway-client", mode: "backend", version, platform: "linux" },
      role: "operator",
      scopes: ["operator.read", "operator.write", "operator.pairing", "operator.admin"],
      credential: { kind: "token", secret: new Secret(String(at(json, "token"))) },
      timeoutMs: 10_000,
    });
    return new Machine(home, gateway, session);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.session.close();
    await this.#gateway.stop();
    this.home[Symbol.dispose]();
  }
}

/** Calls one node without a pause until it is told to stop, and notes what came of it. */
class Traffic {
  answered = 0;
  refused = 0;
  wrong = 0;
  longestMs = 0;
  /** When the path was made whole again after a cut, until the next answer. */
  #backAtMs: number | undefined;
  #isOver = false;
  readonly done: Promise<void>;
  readonly #wakes = new Set<() => void>();

  constructor(session: GatewaySession, nodeId: string) {
    this.done = this.#run(session, nodeId);
  }

  /** The path is whole: how long until the next answer? */
  back(): void {
    this.#backAtMs ??= performance.now();
  }

  stop(): void {
    this.#isOver = true;
  }

  /** Resolves after `more` further answers. */
  async further(more: number): Promise<void> {
    const wanted = this.answered + more;
    while (this.answered < wanted && !this.#isOver) await new Promise<void>((resolve) => this.#wakes.add(resolve));
  }

  async #run(session: GatewaySession, nodeId: string): Promise<void> {
    for (let count = 0; !this.#isOver; count++) {
      const program = programs[count % programs.length] ?? "sh";
      try {
        const params = { bins: [program] };
        const idempotencyKey = systemRuntime.uuid();
        const outcome = await session.call("node.invoke", {
          nodeId,
          command: "system.which",
          params,
          idempotencyKey,
          timeoutMs: 5_000,
        });
        this.#note(outcome, program);
      } catch (error) {
        // Said, and so not lost: who asked knows that nothing came back.
        if (!isFailure(error, "node-offline", "invoke-timeout", "invoke-failed", "timeout")) throw error;
        this.refused++;
        await systemRuntime.sleep(5);
      }
      for (const wake of this.#wakes) wake();
      this.#wakes.clear();
    }
  }

  #note(
    { payload, payloadJSON }: { readonly payload?: unknown; readonly payloadJSON?: unknown },
    program: string,
  ): void {
    const answer: unknown = payload ?? JSON.parse(String(payloadJSON));
    const found = Object.keys({ ...Object(at(answer, "bins")) });
    if (found.length !== 1 || found[0] !== program) this.wrong++;
    this.answered++;
    if (this.#backAtMs === undefined) return;
    this.longestMs = Math.max(this.longestMs, performance.now() - this.#backAtMs);
    this.#backAtMs = undefined;
  }
}

await using sshd = await startSshd();
await using here = await Machine.start();
await using there = await Machine.start();
await using link = startLink(sshd);
const linked = await link.event("linked");
say("linked", { toRemote: at(linked, "toRemote"), toLocal: at(linked, "toLocal") });
const hereId = String(at(at(linked, "toRemote"), "deviceId"));
const thereId = String(at(at(linked, "toLocal"), "deviceId"));
const toRemote = new Traffic(there.session, hereId);
const toLocal = new Traffic(here.session, thereId);
const both = [toRemote, toLocal];

await Promise.all([cutOften(), rotateOften(there, hereId), rotateOften(here, thereId)]);
await Promise.all(both.map((traffic) => traffic.further(Math.max(0, callsWanted - traffic.answered))));
for (const traffic of both) traffic.stop();
await Promise.all(both.map((traffic) => traffic.done));
report();

function startLink({ user, port, identityFile, knownHostsFile }: Sshd): SpawnedCli {
  const ssh = `${user}@127.0.0.1:${port} -i ${identityFile} --known-hosts ${knownHostsFile} -F none --name soak`;
  const far = `--remote-openclaw '${process.execPath} ${binPath}' --remote-state-dir ${there.home.stateDir}`;
  return here.home.spawn(`pair link ${ssh} ${far} --json`);
}

/** sshd takes connections all the time: the path is back as soon as its sessions are dead. */
async function cutOften(): Promise<void> {
  const between = Math.floor(callsWanted / (cuts + 1));
  for (let count = 1; count <= cuts; count++) {
    await Promise.all(both.map((traffic) => traffic.further(between)));
    await sshd.killSessions();
    for (const traffic of both) traffic.back();
    await Promise.all(both.map((traffic) => traffic.further(1)));
    say("cut", { count, longestMs: Math.round(Math.max(...both.map(({ longestMs }) => longestMs))) });
  }
}

/** Each rotation is over when its device uses the new token. */
async function rotateOften({ session }: Machine, deviceId: string): Promise<void> {
  for (let count = 1; count <= rotations; count++) {
    await session.call("device.token.rotate", { deviceId, role: "node", overlapMs });
    await confirmed(session, deviceId);
    say("rotated", { count, device: deviceId.slice(0, 8) });
  }
}

async function confirmed(session: GatewaySession, deviceId: string): Promise<void> {
  for (;;) {
    const { rotations: under } = await session.call("device.token.progress", {});
    const row = under.find((one) => one.deviceId === deviceId);
    if (row === undefined || row.state === "confirmed") return;
    await systemRuntime.sleep(10);
  }
}

function report(): void {
  const row = ({ answered, refused, wrong, longestMs }: Traffic) => ({
    answered,
    refused,
    wrong,
    longestInterruptionMs: Math.round(longestMs),
  });
  const ok = both.every(
    ({ answered, wrong, longestMs }) => answered >= callsWanted && wrong === 0 && longestMs < longestInterruptionMs,
  );
  say("done", { ok, cuts, rotations: 2 * rotations, toRemote: row(toRemote), toLocal: row(toLocal) });
  process.exitCode = ok ? 0 : 1;
}

function say(event: string, facts: object): void {
  process.stdout.write(`${JSON.stringify({ event, ...facts })}\n`);
}
