/** Our gateway as its owner runs it, `openclaw gateway run`, with a machine of its own, and our CLI beside it. */
import { writeFileSync } from "node:fs";
import type { Certificate } from "../fixtures/raw-server.ts";
import { listAt, textAt } from "../support/raw-client.ts";
import { CliHome, type CliResult, type RunningCli } from "../support/run-cli.ts";

export const ourToken = "the-shared-token-of-our-gateway";
export const ourPassword = "the-shared-password-of-our-gateway";

export interface OurGatewayOptions {
  readonly auth?: "token" | "password";
  /** With one the gateway speaks wss. */
  readonly certificate?: (Certificate & { readonly fingerprint: string }) | undefined;
}

export class OurGateway implements AsyncDisposable {
  readonly port: number;
  readonly url: string;
  /** The machine that it runs on. */
  readonly home: CliHome;
  readonly #flags: Flags;
  #running: RunningCli;

  private constructor(home: CliHome, flags: Flags, running: RunningCli, url: URL) {
    this.home = home;
    this.port = Number(url.port);
    this.url = url.origin;
    this.#flags = flags;
    this.#running = running;
  }

  static async start({ auth = "token", certificate }: OurGatewayOptions = {}): Promise<OurGateway> {
    const home = new CliHome();
    const file = (name: string, text: string) => {
      writeFileSync(home.path(name), text, { mode: 0o600 });
      return home.path(name);
    };
    const secret = `--${auth}-file ${file(auth, auth === "token" ? ourToken : ourPassword)}`;
    const tls =
      certificate === undefined
        ? { run: "", ask: "" }
        : {
            run: `--tls-cert ${file("cert.pem", certificate.cert)} --tls-key ${file("key.pem", certificate.key)}`,
            ask: `--tls-fingerprint ${certificate.fingerprint}`,
          };
    const flags = { run: `--auth ${auth} ${secret} ${tls.run}`, ask: `${secret} ${tls.ask}` };
    const running = launch(home, 0, flags);
    const { port } = await running.event("ready");
    return new OurGateway(
      home,
      flags,
      running,
      new URL(`${certificate === undefined ? "ws" : "wss"}://127.0.0.1:${String(port)}`),
    );
  }

  /** A number to give to `nodeCameIn`: what happened until now does not count there. */
  get now(): number {
    return this.#running.talk.items.length;
  }

  /** Waits until a node is let in that was not there at `from`. */
  async nodeCameIn(from: number): Promise<void> {
    await this.#running.talk.find((line) => / info connected .* role=node /u.test(line), from);
  }

  /** Ends the gateway and starts it again on the same state and port. `from` counts from the new start. */
  async restart(): Promise<void> {
    await this.#running.stop();
    this.#running = launch(this.home, this.port, this.#flags);
    await this.#running.event("ready");
  }

  /** A command of our CLI on the gateway's host. */
  run(line: string): Promise<CliResult> {
    return this.home.run(`${line} --json --url ${this.url} ${this.#flags.ask}`);
  }

  /** What a command that must work answers. */
  async ask(line: string): Promise<unknown> {
    const { code, json, stdout, stderr } = await this.run(line);
    if (code !== 0) throw new Error(`${line} ended with ${code}: ${stdout}${stderr}`);
    return json;
  }

  /** Approves every command list that waits. */
  async approveSurfaces(): Promise<void> {
    for (const surface of listAt(await this.ask("nodes pending"), "pending")) {
      await this.ask(`nodes approve ${textAt(surface, "requestId")}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running[Symbol.asyncDispose]();
    this.home[Symbol.dispose]();
  }
}

/** What its start, and what each question to it, needs beside the port. */
interface Flags {
  readonly run: string;
  readonly ask: string;
}

function launch(home: CliHome, port: number, { run }: Flags): RunningCli {
  return home.start(`gateway run --port ${port} --verbose --json ${run}`);
}
