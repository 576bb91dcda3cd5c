/** Our `tunnel open` to a real SSH server. */
import { at, listAt } from "../support/raw-client.ts";
import type { CliEvent, CliHome } from "../support/run-cli.ts";
import type { Sshd } from "../support/sshd.ts";

export interface OurTunnel extends AsyncDisposable {
  /** Where the first forward listens. */
  readonly port: number;
  /** Where each of them listens, in the order in which they were given. */
  readonly ports: readonly number[];
  event(name: string): Promise<CliEvent>;
}

/** `forwards` is `-R …` or `-L …`, as often as wanted. Resolves once all of them listen. */
export async function openTunnel(sshd: Sshd, home: CliHome, forwards: string): Promise<OurTunnel> {
  const destination = `${sshd.user}@127.0.0.1:${sshd.port}`;
  const keys = `-i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile}`;
  const running = home.start(`tunnel open ${destination} ${keys} ${forwards} --json`);
  const ready = await running.event("ready");
  const ports = listAt(ready, "forwards").map((forward) => Number(at(forward, "port")));
  const [port = 0] = ports;
  return {
    port,
    ports,
    event: (name) => running.event(name),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}
