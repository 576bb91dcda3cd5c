import { expect, test } from "vitest";
import { OpenClawError } from "../../src/errors.ts";
import { givenUp, type Step, timedOut } from "../../src/transport/unreachable.ts";

test.each<[step: Step, message: string]>([
  ["tcp-connect", "the TCP connection did not come about"],
  ["tls-handshake", "the TLS handshake did not finish"],
  ["http-upgrade", "the HTTP upgrade was not answered"],
  ["challenge", "the WebSocket is open, but the gateway's challenge did not come"],
  ["hello", "the connect request was not answered"],
  ["call node.list", "node.list was not answered"],
])("a time-out at %s says where, and what was missing", (step, message) => {
  expect(timedOut(new URL("wss://[::1]/path"), step, 250)).toMatchObject({
    code: "timeout",
    message: `[::1]:443: ${message} within 250 ms`,
    hint: expect.stringContaining("--timeout"),
    details: { address: "[::1]:443", step, timeoutMs: 250 },
  });
});

test("only a deadline that does not say where becomes one that does", () => {
  const url = new URL("ws://127.0.0.1:18789");
  const deadline = new OpenClawError("timeout", "too long", { details: { timeoutMs: 9 } });
  const told = givenUp(url, "hello", deadline);
  expect(told).toMatchObject({ code: "timeout", details: { step: "hello", timeoutMs: 9 }, cause: deadline });
  for (const reason of [told, new Error("Ctrl-C"), new OpenClawError("usage", "no"), undefined]) {
    expect(givenUp(url, "challenge", reason)).toBe(reason);
  }
});
