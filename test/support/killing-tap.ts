/** A WebSocket relay on loopback that can do something at a certain frame: it waits until that is done, and the frame goes no further. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocket, WebSocketServer } from "ws";
import { at } from "./raw-client.ts";

/** `gateway device.token.rotated` is an event, `node connect` a request, `gateway connect` its answer; the n-th one counts. */
export interface FrameRule {
  readonly frame: string;
  readonly act: () => Promise<void>;
}

export interface KillingTap extends AsyncDisposable {
  readonly url: string;
  /** Where new connections go from now on. */
  pointTo(port: number): void;
  /** At the next frame of this description, once. */
  arm(rule: FrameRule): void;
}

export async function startKillingTap(): Promise<KillingTap> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
  let targetPort = 0;
  let armed: FrameRule | undefined;
  server.on("connection", (near, request) => {
    const { authorization } = request.headers;
    const far = new WebSocket(`ws://127.0.0.1:${targetPort}`, {
      headers: authorization === undefined ? {} : { authorization },
      perMessageDeflate: false,
    });
    const methods = new Map<unknown, string>();
    const isOpen = once(far, "open");
    isOpen.catch(() => near.terminate());
    const pass = (from: WebSocket, to: WebSocket, who: "node" | "gateway") => {
      from.on("error", () => {}); // told as a close
      from.on("close", () => to.terminate());
      from.on("message", (data) => {
        const text = (data as Buffer).toString();
        const rule = armed;
        if (rule !== undefined && rule.frame === `${who} ${nameOf(JSON.parse(text), methods)}`) {
          armed = undefined;
          void rule.act().then(() => near.terminate());
          return;
        }
        isOpen.then(
          () => to.readyState === to.OPEN && to.send(text),
          () => {},
        );
      });
    };
    pass(near, far, "node");
    pass(far, near, "gateway");
  });
  await once(server, "listening");
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pointTo: (port) => void (targetPort = port),
    arm: (rule) => void (armed = rule),
    async [Symbol.asyncDispose]() {
      for (const client of server.clients) client.terminate();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The event's name, or the method that is asked for or answered. */
function nameOf(frame: unknown, methods: Map<unknown, string>): string {
  const id = at(frame, "id");
  if (at(frame, "type") === "event") return String(at(frame, "event"));
  if (at(frame, "type") === "req") methods.set(id, String(at(frame, "method")));
  return methods.get(id) ?? "";
}
