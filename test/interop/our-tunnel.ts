/** Our `tunnel open` to a real SSH server, with one forward. */
import { at, listAt } from "../support/raw-client.ts";
import type { CliEvent, CliHome } from "../support/run-cli.ts";
import type { Sshd } from "../support/sshd.ts";

export interface OurTunnel extends AsyncDisposable {
  /** Where the forward listens. */
  readonly port: number;
  event(name: string): Promise<CliEvent>;
}

/** `forward` is `-R …` or `-L …`. Resolves once it listens. */
export async function openTunnel(sshd: Sshd, home: CliHome, forward: string): Promise<OurTunnel> {
  const destination = `${sshd.user}@127.0.0.1:${sshd.port}`;
  const keys = `-i ${sshd.identityFile} --known-hosts ${sshd.knownHostsFile}`;
  const running = home.start(`tunnel open ${destination} ${keys} ${forward} --json`);
  const ready = await running.event("ready");
  return {
    port: Number(at(listAt(ready, "forwards")[0], "port")),
    event: (name) => running.event(name),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}
