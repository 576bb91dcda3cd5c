/** Our own node host in this process, watched: what it said, how it ended, and what it remembers. */
import type { RememberedToken, TokenKey, TokenMemory } from "../../src/client/open-session.ts";
import { createIdentity } from "../../src/identity/device-identity.ts";
import { type NodeEvent, type NodeHostOptions, runNode } from "../../src/node/index.ts";
import { systemRuntime } from "../../src/runtime.ts";
import { Secret } from "../../src/secret.ts";
import { Recorder } from "./recorder.ts";
import { impatient, sharedToken } from "./world.ts";

export const withToken = { explicit: { kind: "token", secret: new Secret(sharedToken) } } as const;

/** A fresh device identity. */
export function makeIdentity() {
  return createIdentity(systemRuntime.random(32), systemRuntime.now());
}

/** Device tokens kept in memory. */
export class Memory implements TokenMemory {
  readonly tokens = new Map<string, RememberedToken>();

  async recall(key: TokenKey): Promise<RememberedToken | undefined> {
    return this.tokens.get(nameOf(key));
  }

  async remember(key: TokenKey, token: RememberedToken): Promise<void> {
    this.tokens.set(nameOf(key), token);
  }

  async forget(key: TokenKey): Promise<void> {
    this.tokens.delete(nameOf(key));
  }
}

function nameOf({ gateway, deviceId, role }: TokenKey): string {
  return `${gateway} ${deviceId} ${role}`;
}

type EventOf<Name extends NodeEvent["event"]> = NodeEvent & { readonly event: Name };

/** A running node host. Disposing of it stops it and waits for its end. */
export class TestNode implements AsyncDisposable {
  readonly events = new Recorder<NodeEvent>();
  /** Undefined when it was asked to stop, else why it stopped by itself. */
  readonly ended: Promise<unknown>;
  readonly #controller = new AbortController();

  constructor(options: Omit<NodeHostOptions, "signal" | "onEvent">) {
    const run = runNode({
      runtime: impatient(systemRuntime),
      ...options,
      signal: this.#controller.signal,
      onEvent: this.events.push,
    });
    this.ended = run.then(
      () => undefined,
      (error: unknown) => error,
    );
    void this.ended.then((error) => this.events.end(new Error(`the node host ended: ${String(error)}`)));
  }

  /** The next event of this name, from event number `from` on. */
  async event<Name extends NodeEvent["event"]>(name: Name, from = 0): Promise<EventOf<Name>> {
    return this.events.find((event): event is EventOf<Name> => event.event === name, from);
  }

  /** The next event of this name from now on. */
  next<Name extends NodeEvent["event"]>(name: Name): Promise<EventOf<Name>> {
    return this.event(name, this.events.items.length);
  }

  async stop(): Promise<unknown> {
    this.#controller.abort();
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** Starts a node host with one command that answers with what it was asked, unless the options say otherwise. */
export function startNode(url: string, options: Partial<NodeHostOptions> = {}): TestNode {
  return new TestNode({
    gateway: { url },
    identity: makeIdentity(),
    credentials: withToken,
    handlers: { "system.which": async (params) => params },
    ...options,
  });
}
