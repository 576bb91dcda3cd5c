/** What a node host tells about itself, as `node run --json` prints it. */
import type { PairingCode } from "../protocol/pairing-code.ts";
import type { InvokeReport } from "./serve.ts";

export type NodeEvent =
  | { readonly event: "connecting"; readonly url: string }
  | {
      readonly event: "pairing-required";
      readonly requestId: string;
      readonly deviceId: string;
      readonly fingerprint: string;
      readonly layer: "device" | "surface";
      /** The request's code, where the gateway makes codes: the same stands at its end. */
      readonly sas?: PairingCode;
      /** The command to paste on the gateway's host. */
      readonly approve: string;
    }
  | {
      /** What was waited for was granted; `by` is who did, where the gateway tells. */
      readonly event: "approved";
      readonly layer: "device" | "surface";
      readonly requestId: string;
      readonly by?: string;
    }
  | {
      readonly event: "ready";
      readonly deviceId: string;
      readonly connId: string;
      readonly protocol: number;
      readonly gatewayVersion: string;
      readonly commands: readonly string[];
    }
  | ({ readonly event: "invoke" } & InvokeReport)
  | {
      readonly event: "disconnected";
      readonly code: number | string;
      readonly reason: string;
      readonly retryInMs: number;
    }
  | { readonly event: "stopped"; readonly reason: string };

/** The state that a node is in after an event; undefined where it is the one before. */
export function stateAfter({ event }: NodeEvent): string | undefined {
  switch (event) {
    case "connecting":
    case "ready":
    case "pairing-required":
    case "disconnected":
      return event;
    case "approved":
    case "invoke":
    case "stopped":
      return undefined;
  }
}
