/** Connection options that meet a test server, without the machine's own keys, agents and known hosts. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTunnel } from "../../src/tunnel/tunnel.ts";
import type { Tunnel, TunnelEvent, TunnelOptions } from "../../src/tunnel/tunnel.ts";
import { Credentials } from "../../src/ssh/credentials.ts";
import type { CredentialOptions } from "../../src/ssh/credentials.ts";
import type { SshOptions } from "../../src/ssh/connect.ts";
import { knownHostsFiles } from "../../src/ssh/host-keys.ts";
import type { HostKeyOptions } from "../../src/ssh/host-keys.ts";
import { parseForward } from "../../src/ssh/destination.ts";
import type { ForwardSpec } from "../../src/ssh/destination.ts";
import type { Sshd } from "../support/sshd.ts";

export interface Overrides extends Partial<Omit<SshOptions, "hostKeys" | "credentials">> {
  readonly hostKeys?: Partial<HostKeyOptions>;
  readonly credentials?: Partial<CredentialOptions>;
}

/** Options that get into `sshd` with its own key and known hosts, unless overridden. */
export function optionsFor(sshd: Sshd, { hostKeys, credentials, ...rest }: Overrides = {}): SshOptions {
  return {
    host: sshd.host,
    port: sshd.port,
    user: sshd.user,
    hostKeys: { files: knownHostsFiles(sshd.directory, sshd.knownHostsFile), ...hostKeys },
    credentials: new Credentials({ home: sshd.directory, identityFiles: [sshd.identityFile], ...credentials }),
    ...rest,
  };
}

/** A tunnel and everything it told so far. */
export interface Watched extends AsyncDisposable {
  readonly tunnel: Tunnel;
  readonly events: TunnelEvent[];
  /** Resolves with the next event of this kind from now on. */
  next<E extends TunnelEvent["event"]>(kind: E): Promise<Extract<TunnelEvent, { event: E }>>;
}

export async function watchTunnel(options: Omit<TunnelOptions, "onEvent">): Promise<Watched> {
  const events: TunnelEvent[] = [];
  const waiting = new Set<(event: TunnelEvent) => void>();
  const tunnel = await openTunnel({
    ...options,
    onEvent(event) {
      events.push(event);
      for (const tell of waiting) tell(event);
    },
  });
  return {
    tunnel,
    events,
    async next(kind) {
      const { promise, resolve } = Promise.withResolvers<Extract<TunnelEvent, { event: typeof kind }>>();
      const tell = (event: TunnelEvent) => isKind(event, kind) && resolve(event);
      waiting.add(tell);
      return promise.finally(() => waiting.delete(tell));
    },
    [Symbol.asyncDispose]: () => tunnel.close(),
  };
}

function isKind<E extends TunnelEvent["event"]>(
  event: TunnelEvent,
  kind: E,
): event is Extract<TunnelEvent, { event: E }> {
  return event.event === kind;
}

/** `-R 0:127.0.0.1:port` and its like. */
export function remote(text: string): ForwardSpec {
  return parseForward("remote", text);
}

export function local(text: string): ForwardSpec {
  return parseForward("local", text);
}

/** A directory that is gone at the end of the scope. */
export async function temporaryDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "tunnel-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
