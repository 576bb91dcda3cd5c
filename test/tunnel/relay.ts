/** A TCP relay that can misbehave like a network: cut connections, or let them hang without a word. */
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";

export interface Relay extends AsyncDisposable {
  readonly port: number;
  /** Connections accepted so far. */
  accepted(): number;
  /** Resets every connection on both sides. */
  cut(): void;
  /** Resets the connection that is open for the longest time. */
  cutOldest(): void;
  /** Passes on neither bytes nor ends, on present and future connections, until `resume`. */
  freeze(): void;
  /** Passes on neither bytes nor ends, not even resets, on present connections, for ever. Future ones work. */
  forget(): void;
  resume(): void;
}

type Pair = readonly [Socket, Socket];

/** Relays a free loopback port to another one. */
export async function startRelay(targetPort: number): Promise<Relay> {
  const pairs = new Set<Pair>();
  const forgotten: Pair[] = [];
  let frozen = false;
  let accepted = 0;

  const closeInStep = (pair: Pair) => {
    const [a, b] = pair;
    if (a.destroyed && b.destroyed) pairs.delete(pair);
    else if (!frozen && (a.destroyed || b.destroyed)) (a.destroyed ? b : a).destroy();
  };
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    accepted++;
    const target = connect({ host: "127.0.0.1", port: targetPort, noDelay: true, allowHalfOpen: true });
    const pair = [client, target] as const;
    pairs.add(pair);
    for (const [from, to] of [pair, [target, client] as const]) {
      from.on("data", (chunk: Buffer) => to.write(chunk));
      from.on("end", () => to.end());
      from.on("error", () => {});
      from.once("close", () => closeInStep(pair));
      if (frozen) from.pause();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();

  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    accepted: () => accepted,
    cut() {
      for (const socket of [...pairs, ...forgotten].flat()) socket.resetAndDestroy();
    },
    cutOldest() {
      for (const socket of [...pairs][0] ?? []) socket.resetAndDestroy();
    },
    freeze() {
      frozen = true;
      for (const socket of [...pairs].flat()) socket.pause();
    },
    forget() {
      for (const pair of pairs) {
        for (const socket of pair) socket.pause().removeAllListeners("close");
        pairs.delete(pair);
        forgotten.push(pair);
      }
    },
    resume() {
      frozen = false;
      for (const pair of pairs) {
        for (const socket of pair) socket.resume();
        closeInStep(pair);
      }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of [...pairs, ...forgotten].flat()) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
