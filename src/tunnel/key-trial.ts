/** Tries what a key may do on a server: that it may do the forwards it is for, and that everything else is refused. */
import type { ClientChannel } from "../ssh/ssh2.ts";
import { systemRuntime } from "../runtime.ts";
import type { Runtime } from "../runtime.ts";
import { checkAddress } from "./authorized-key.ts";
import type { KeyRestriction } from "./authorized-key.ts";
import { connectSsh } from "../ssh/connect.ts";
import type { SshConnection, SshOptions } from "../ssh/connect.ts";
import { formatForward, formatTarget } from "../ssh/destination.ts";
import type { ForwardSpec, ForwardTarget } from "../ssh/destination.ts";
import { sshPort } from "../ssh/known-hosts.ts";
import { isLoopback } from "./port-safety.ts";
import { openFailure } from "./probe.ts";

/** One attempt. `unknown`: the server gave no answer that tells. */
export interface KeyAttempt {
  readonly attempt: string;
  /** `either`: no line of `authorized_keys` decides about it. */
  readonly expected: "granted" | "refused" | "either";
  readonly got: Outcome;
  readonly ok: boolean;
  /** What exactly was granted that should not have been, or what to know about it. */
  readonly note?: string;
}

export interface KeyTrialOptions extends KeyRestriction {
  /** With the key under trial as the only credential. */
  readonly ssh: Omit<SshOptions, "runtime">;
  readonly runtime?: Runtime;
  readonly signal?: AbortSignal;
}

type Outcome = "granted" | "refused" | "unknown";

interface Finding {
  readonly got: Outcome;
  readonly note?: string | undefined;
}

/** Start-up files of a shell may take their time before a forced command says no. */
const answerPatienceMs = 20_000;
const fileTransferPatienceMs = 5_000;
/** Listeners that are worth having: what a stolen key would be tried on first. */
const temptingPorts = [22, 80, 443, 3306, 5432, 6379, 8080, 18_789, 18_791];
/** Sockets that are there on most servers, and that a connection without a word does not disturb. */
const commonSockets = ["/run/dbus/system_bus_socket", "/run/systemd/journal/stdout", "/run/docker.sock"];

/**
 * Connects with the key and tries, one row each. Whatever is granted is given back at once; no target of the tunnel gets a byte.
 * Throws like `connectSsh`.
 */
export async function tryKey(options: KeyTrialOptions): Promise<KeyAttempt[]> {
  const { ssh, runtime = systemRuntime, signal } = options;
  await using connection = await connectSsh({ ...ssh, runtime }, signal);
  connection.client.on("tcp connection", (_details, _accept, reject) => reject());
  const stop = () => void connection.close();
  signal?.addEventListener("abort", stop);
  const trial = new Trial(connection, runtime);
  const sessions = Promise.all([
    expectRefused("a shell", trial.shell()),
    expectRefused("a command", trial.command()),
    expectRefused("file transfer (sftp)", trial.fileTransfer()),
    expectRefused("a terminal (pty)", trial.terminal()),
    expectRefused("agent forwarding", trial.agentForwarding()),
    expectRefused("X11 forwarding", trial.x11Forwarding()),
  ]);
  // One after the other: two listeners on one port would refuse each other.
  const forwards = [
    ...(await tryListeners(trial, options)),
    ...(await tryTargets(trial, options, ssh.port ?? sshPort)),
    await tryUnixSockets(trial),
  ];
  const others = await sessions;
  signal?.removeEventListener("abort", stop);
  signal?.throwIfAborted();
  return [...forwards.filter(isWanted), ...others, ...forwards.filter((row) => !isWanted(row))];
}

async function tryListeners(trial: Trial, { forwards }: KeyRestriction): Promise<KeyAttempt[]> {
  const rows: KeyAttempt[] = [];
  const remote = forwards.filter(({ direction }) => direction === "remote");
  for (const forward of remote) {
    const own = trial.listen(addressFor(forward.bind), forward.port);
    rows.push(
      await expectGranted(`-R ${formatForward(forward)}`, own, "or the port is taken: close the tunnel that uses it"),
    );
    const isOnEveryAddress = addressFor(forward.bind) === "";
    if (isOnEveryAddress) continue;
    const wider = trial.listen("", forward.port);
    rows.push(await expectRefused(`listening on port ${forward.port} of every address`, wider));
  }
  const other = otherPort(remote);
  rows.push(await expectRefused("listening on another port", trial.listen("127.0.0.1", other)));
  rows.push(await expectRefused("listening on any free port", trial.listen("127.0.0.1", 0)));
  return rows;
}

async function tryTargets(trial: Trial, { forwards, allowCheck }: KeyRestriction, port: number): Promise<KeyAttempt[]> {
  const rows: KeyAttempt[] = [];
  const permitted = new Set<string>();
  for (const forward of forwards.filter(({ direction }) => direction === "local")) {
    permitted.add(formatTarget(forward.target));
    rows.push(await expectGranted(`-L ${formatForward(forward)}`, trial.open(forward.target)));
  }
  const own = forwards.filter(({ direction }) => direction === "remote").map(checkAddress);
  if (allowCheck === true) {
    for (const address of own) {
      permitted.add(address);
      rows.push(await expectGranted(`dialling ${address} to check it`, trial.open(targetAt(address))));
    }
  }
  const tempting = [...new Set([port, ...temptingPorts])].map((one) => `127.0.0.1:${one}`);
  const others = [...own.filter((address) => isLoopback(targetAt(address).host)), ...tempting];
  const tried = [...new Set(others)].filter((address) => !permitted.has(address));
  const outcomes = await Promise.all(tried.map((address) => trial.open(targetAt(address))));
  const granted = tried.filter((_address, at) => outcomes[at]?.got === "granted");
  rows.push(await expectRefused(`another target (${tried.length} tried)`, summaryOf(granted, outcomes)));
  return rows;
}

async function summaryOf(granted: readonly string[], outcomes: readonly Finding[]): Promise<Finding> {
  if (granted.length > 0) return { got: "granted", note: granted.join(", ") };
  return outcomes.find(({ got }) => got === "unknown") ?? { got: "refused" };
}

/** Whether unix sockets can be reached is for sshd_config alone to say, so either answer is right; a bad one is worth knowing. */
async function tryUnixSockets(trial: Trial): Promise<KeyAttempt> {
  const outcomes = await Promise.all(commonSockets.map((path) => trial.open({ type: "unix", path })));
  const granted = commonSockets.filter((_path, at) => outcomes[at]?.got === "granted");
  const row = { attempt: "unix sockets of the server", expected: "either", ok: true } as const;
  return granted.length === 0
    ? { ...row, got: "unknown", note: "none of the usual ones could be opened" }
    : {
        ...row,
        got: "granted",
        note: `${granted.join(", ")}; only AllowStreamLocalForwarding no in sshd_config forbids it`,
      };
}

async function expectGranted(attempt: string, finding: Promise<Finding>, note?: string): Promise<KeyAttempt> {
  const { got, note: found = note } = await finding;
  const ok = got === "granted";
  return { attempt, expected: "granted", got, ok, ...(!ok && found !== undefined && { note: found }) };
}

async function expectRefused(attempt: string, finding: Promise<Finding>): Promise<KeyAttempt> {
  const { got, note } = await finding;
  return { attempt, expected: "refused", got, ok: got === "refused", ...(note !== undefined && { note }) };
}

function isWanted({ expected }: KeyAttempt): boolean {
  return expected === "granted";
}

/** What can be asked of a server over one connection. */
class Trial {
  readonly #client: SshConnection["client"];
  readonly #runtime: Runtime;
  readonly #lost: Promise<Finding>;

  constructor({ client, closed }: SshConnection, runtime: Runtime) {
    this.#client = client;
    this.#runtime = runtime;
    this.#lost = closed.then(() => ({ got: "unknown", note: "the connection was lost" }));
  }

  /** Whether a listener is granted; it is taken back at once. */
  listen(address: string, port: number): Promise<Finding> {
    return this.#ask((answer) =>
      this.#client.forwardIn(address, port, (error, granted) => {
        if (error !== undefined) return answer({ got: "refused" });
        this.#client.unforwardIn(address, granted, () => answer({ got: "granted", note: `port ${granted}` }));
      }),
    );
  }

  /** Whether a target may be opened, which one that is down says too. */
  open(target: ForwardTarget): Promise<Finding> {
    return this.#ask((answer) => {
      const opened = (error: Error | undefined, channel: ClientChannel) => {
        channel?.on("error", () => {}).close();
        const failure = error && openFailure(error);
        if (error === undefined) answer({ got: "granted" });
        // For unix sockets the server says the same whether there is none or it forbids them.
        else if (failure === "connect-failed" && target.type === "tcp") answer({ got: "granted" });
        else if (failure === "prohibited") answer({ got: "refused" });
        else answer({ got: "unknown", note: "nothing answers there, or sshd_config forbids it" });
      };
      if (target.type === "unix") this.#client.openssh_forwardOutStreamLocal(target.path, opened);
      else this.#client.forwardOut("127.0.0.1", 0, target.host, target.port, opened);
    });
  }

  shell(): Promise<Finding> {
    const probe = this.#probe();
    return this.#ask((answer) => {
      this.#client.shell(false, (error, channel) => {
        if (error === undefined) watch(channel, probe, answer);
        else answer({ got: "refused" });
      });
    });
  }

  command(): Promise<Finding> {
    const probe = this.#probe();
    return this.#ask((answer) => {
      this.#client.exec(probe.command, (error, channel) => {
        if (error === undefined) watch(channel, probe, answer);
        else answer({ got: "refused" });
      });
    });
  }

  fileTransfer(): Promise<Finding> {
    return this.#ask((answer) => {
      this.#client.subsys("sftp", (error, channel) => {
        if (error !== undefined) return answer({ got: "refused" });
        let heard = Buffer.alloc(0);
        channel.on("data", (chunk: Buffer) => {
          heard = Buffer.concat([heard, chunk]);
          if (isSftpVersion(heard)) answer({ got: "granted" });
        });
        // A server of files that reads the end at once leaves without an answer; anything else would wait for more.
        const cancel = this.#runtime.after(fileTransferPatienceMs, () => channel.end());
        over(channel, () => {
          cancel();
          answer({ got: "refused" });
        });
        channel.write(sftpInit);
      });
    });
  }

  terminal(): Promise<Finding> {
    return this.#request({ pty: true });
  }

  x11Forwarding(): Promise<Finding> {
    return this.#request({ x11: true });
  }

  agentForwarding(): Promise<Finding> {
    // The library asks for agent forwarding only when it was given an agent. Nobody ever asks this one anything.
    if (Reflect.get(this.#client, "_agent") === undefined) Reflect.set(this.#client, "_agent", {});
    return this.#request({ agentForward: true });
  }

  /** Whether something is granted on top of a command that does nothing. */
  #request(extra: object): Promise<Finding> {
    return this.#ask((answer) => {
      this.#client.exec(":", extra, (error, channel) => {
        channel?.on("error", () => {}).close();
        answer({ got: error === undefined ? "granted" : "refused" });
      });
    });
  }

  #probe(): Probe {
    const [left, right] = [this.#runtime.uuid(), this.#runtime.uuid()];
    // What only echoes it shows the quotes, or the command in front.
    return { command: `echo ${left}""${right}`, answers: [`${left}${right}`, `${left}""${right}`] };
  }

  /** The finding, or `unknown` when there is no answer in time or the connection is lost. */
  async #ask(question: (answer: (finding: Finding) => void) => void): Promise<Finding> {
    const { promise, resolve } = Promise.withResolvers<Finding>();
    const cancel = this.#runtime.after(answerPatienceMs, () =>
      resolve({ got: "unknown", note: `no answer within ${answerPatienceMs / 1000} s` }),
    );
    try {
      question(resolve);
    } catch {
      // The connection is on its way out, which `#lost` tells.
    }
    return Promise.race([promise, this.#lost]).finally(cancel);
  }
}

interface Probe {
  readonly command: string;
  /** Lines that only who ran the command prints. */
  readonly answers: readonly string[];
}

/** Types the command into whatever runs, and waits for its answer or its end. */
function watch(channel: ClientChannel, { command, answers }: Probe, answer: (finding: Finding) => void): void {
  let heard = "";
  channel.on("data", (chunk: Buffer) => {
    heard = (heard + chunk.toString("latin1")).slice(-4096);
    if (!heard.split(/\r?\n/).some((line) => answers.includes(line.trim()))) return;
    answer({ got: "granted" });
    channel.close();
  });
  over(channel, () => answer({ got: "refused" }));
  channel.end(`${command}\n`);
}

function over(channel: ClientChannel, ended: () => void): void {
  channel.stderr.resume();
  channel.on("error", () => {}).once("close", ended);
}

/** SSH_FXP_INIT of version 3, and what answers it (draft-ietf-secsh-filexfer-02 § 4). */
const sftpInit = Buffer.from([0, 0, 0, 5, 1, 0, 0, 0, 3]);
const sftpVersion = 2;

function isSftpVersion(bytes: Buffer): boolean {
  return bytes.length >= 5 && bytes.readUInt32BE(0) < 65_536 && bytes[4] === sftpVersion;
}

/** As a remote forward asks for it: nothing at all means every address. */
function addressFor(bind: string): string {
  return bind === "*" ? "" : bind;
}

/** A high port that no forward is for. */
function otherPort(remote: readonly ForwardSpec[]): number {
  const taken = new Set(remote.map(({ port }) => port));
  let port = 58_791;
  while (taken.has(port)) port++;
  return port;
}

function targetAt(address: string): { type: "tcp"; host: string; port: number } {
  const colon = address.lastIndexOf(":");
  return {
    type: "tcp",
    host: address.slice(0, colon).replace(/^\[(.*)\]$/, "$1"),
    port: Number(address.slice(colon + 1)),
  };
}
