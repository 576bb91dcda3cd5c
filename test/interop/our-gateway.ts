/** Our gateway as its owner runs it, `openclaw gateway run`, with a machine of its own, and our CLI beside it. */
import { writeFileSync } from "node:fs";
import { listAt, textAt } from "../support/raw-client.ts";
import { CliHome, type CliResult, type RunningCli } from "../support/run-cli.ts";

export const ourToken = "the-shared-token-of-our-gateway";

export class OurGateway implements AsyncDisposable {
  readonly port: number;
  readonly #home: CliHome;
  #running: RunningCli;

  private constructor(home: CliHome, running: RunningCli, port: number) {
    this.#home = home;
    this.#running = running;
    this.port = port;
  }

  static async start(): Promise<OurGateway> {
    const home = new CliHome();
    writeFileSync(home.path("token"), ourToken, { mode: 0o600 });
    const running = launch(home, 0);
    const { port } = await running.event("ready");
    return new OurGateway(home, running, Number(port));
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}`;
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
    this.#running = launch(this.#home, this.port);
    await this.#running.event("ready");
  }

  /** A command of our CLI on the gateway's host. */
  run(line: string): Promise<CliResult> {
    return this.#home.run(`${line} --json --url ${this.url} --token-file ${this.#home.path("token")}`);
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
    this.#home[Symbol.dispose]();
  }
}

function launch(home: CliHome, port: number): RunningCli {
  return home.start(`gateway run --port ${port} --verbose --json --token-file ${home.path("token")}`);
}
