/**
 * The device's half of a rotation without an outage: takes the new token that the gateway pushes, writes it down beside the old one, says
 * so, proves it with a connection of its own, and only then lets go of the old one. The session goes on all the while. Whatever is cut
 * short is taken up again by the next session: on the disk there is always a token that works.
 */
import * as v from "valibot";
import type { EventFrame } from "../protocol/frame.ts";
import { tokenRotated } from "../protocol/token-rotated.ts";
import { type Runtime, systemRuntime } from "../runtime.ts";
import { hashSecret, Secret } from "../secret.ts";
import { reconnectBackoff, retryDelay } from "../transport/backoff.ts";
import { connectGateway, type ConnectOptions } from "./connect-gateway.ts";
import type { GatewaySession } from "./gateway-session.ts";
import type { RememberedToken, TokenKey, TokenMemory } from "./open-session.ts";
import { outcomeOf } from "./outcome.ts";

/** True for a gateway that lets an old token live on beside the new one, and pushes that to its device. */
export function handsOver({ hello }: Pick<GatewaySession, "hello">): boolean {
  return hello.features.capabilities?.includes("token-handover") === true;
}

/** A connection with this token that does nothing else and takes no session's place. Fails like any other attempt. */
async function proveToken(options: ConnectOptions, token: Secret): Promise<void> {
  const { gateway, client, role, identity, timeoutMs, signal, runtime } = options;
  const probe = await connectGateway({
    gateway,
    client: { ...client, mode: "probe" },
    role,
    scopes: [],
    identity,
    credential: { kind: "deviceToken", secret: token },
    timeoutMs,
    signal,
    ...(runtime === undefined ? {} : { runtime }),
  });
  await probe.close();
}

export class TokenFollower {
  readonly #options: ConnectOptions;
  readonly #memory: TokenMemory;
  readonly #key: TokenKey;
  readonly #runtime: Runtime;
  /** One token after the other: the last one that was pushed is the one that stays. */
  #turn: Promise<void> = Promise.resolve();
  #session: GatewaySession | undefined;

  constructor(options: ConnectOptions, memory: TokenMemory, key: TokenKey) {
    this.#options = options;
    this.#memory = memory;
    this.#key = key;
    this.#runtime = options.runtime ?? systemRuntime;
  }

  /** Tells the gateway that this session takes new tokens in, and goes on with one that came in and was not proven. */
  begin(session: GatewaySession): void {
    if (!handsOver(session)) return;
    this.#session = session;
    this.#next(async () => {
      await session.call("device.token.watch", {});
      const known = await this.#memory.recall(this.#key);
      if (known?.previous !== undefined) await this.#settle(session, known.token);
    });
  }

  /** True for the event that is meant for it. */
  hear({ event, payload }: EventFrame): boolean {
    if (event !== "device.token.rotated") return false;
    const read = v.safeParse(tokenRotated, payload);
    const session = this.#session;
    if (!read.success || session === undefined || read.output.role !== this.#key.role) return true;
    const { token, scopes } = read.output;
    this.#next(() => this.#take(session, { token: new Secret(token), scopes, updatedAtMs: this.#runtime.now() }));
    return true;
  }

  async #take(session: GatewaySession, rotated: RememberedToken): Promise<void> {
    const known = await this.#memory.recall(this.#key);
    const isKnown = known?.token.reveal() === rotated.token.reveal();
    if (!isKnown) await this.#memory.remember(this.#key, { ...rotated, previous: known?.token });
    await this.#settle(session, rotated.token);
  }

  /** The token is on the disk: the gateway is told, and shown that it works. The one before it goes. */
  async #settle(session: GatewaySession, token: Secret): Promise<void> {
    await session.call("device.token.delivered", { tokenHash: hashSecret(token.reveal()) });
    await this.#prove(session, token);
    const known = await this.#memory.recall(this.#key);
    if (known?.token.reveal() !== token.reveal()) return;
    const { previous, ...settled } = known;
    if (previous !== undefined) await this.#memory.remember(this.#key, settled);
    this.#runtime.log("info", "device token replaced", { role: this.#key.role, token: token.digest() });
  }

  /** Tries until it is proven, or the session is over: the next one comes with it. */
  async #prove(session: GatewaySession, token: Secret): Promise<void> {
    const isOver = new AbortController();
    void session.closed.then(() => isOver.abort(new Error("the session ended")));
    const { signal } = this.#options;
    const options = { ...this.#options, signal: AbortSignal.any([isOver.signal, ...(signal ? [signal] : [])]) };
    for (let attempt = 0; ; attempt++) {
      try {
        return await proveToken(options, token);
      } catch (error) {
        const outcome = outcomeOf(error);
        if (options.signal.aborted || outcome.kind !== "retry") throw error;
        const chance = (this.#runtime.random(1)[0] ?? 0) / 256;
        const delayMs = outcome.afterMs ?? retryDelay(reconnectBackoff, attempt, chance);
        await this.#runtime.sleep(delayMs, options.signal);
      }
    }
  }

  #next(work: () => Promise<void>): void {
    this.#turn = this.#turn.then(work).catch((error: unknown) => {
      this.#runtime.log("warn", "a new device token was not taken in to its end", { error: String(error) });
    });
  }
}
