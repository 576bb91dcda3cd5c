/** A lean client that gets through the gateway's handshake. Against the bare server it does the very same work. */
import * as v from "valibot";
import type { Role } from "../src/protocol/vocabulary.ts";
import { connectParams } from "../test/support/raw-client.ts";
import { type ApprovedDevice, connectOptions } from "./approved-devices.ts";
import { LeanClient, textFrame } from "./lean-client.ts";

const challenge = v.object({ payload: v.object({ nonce: v.string(), ts: v.number() }) });

export interface Connected {
  readonly client: LeanClient;
  /** The server's first two messages: challenge and hello-ok. */
  readonly challenge: string;
  readonly hello: string;
}

/** Connects, signs the challenge and waits for hello-ok; `hear` gets what comes behind it. Rejects when the gateway refuses. */
export function connectDevice(
  port: number,
  device: ApprovedDevice,
  role: Role,
  hear: (payload: Buffer, client: LeanClient) => void = () => {},
): Promise<Connected> {
  return new Promise((resolve, reject) => {
    let asked: string | undefined;
    let isIn = false;
    const listen = (payload: Buffer, client: LeanClient) => {
      if (isIn) return hear(payload, client);
      if (asked === undefined) {
        asked = payload.toString();
        const { nonce, ts } = v.parse(challenge, JSON.parse(asked)).payload;
        const params = connectParams(connectOptions(device, role), nonce, ts);
        return client.send(textFrame(JSON.stringify({ type: "req", id: "1", method: "connect", params })));
      }
      isIn = true;
      if (payload.includes('"ok":true')) resolve({ client, challenge: asked, hello: payload.toString() });
      else reject(new Error(`the gateway refused: ${payload.toString()}`));
      return undefined;
    };
    LeanClient.open(port, listen).then(
      ({ closed }) => closed.then(() => reject(new Error("closed in the handshake"))),
      reject,
    );
  });
}
