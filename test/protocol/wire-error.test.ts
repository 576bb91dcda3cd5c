import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type FailureCode, OpenClawError } from "../../src/errors.ts";
import { decodeFrame, encodeFrame, type WireError } from "../../src/protocol/frame.ts";
import { findRefusal, refusalClose, type RefusalCode, refusals } from "../../src/protocol/refusals.ts";
import {
  fromWireError,
  invalidRequest,
  missingScope,
  toWireError,
  unavailable,
} from "../../src/protocol/wire-error.ts";
import { recordedFrames } from "../fixtures/transcripts.ts";

/** Every error that any recorded gateway sent, by what tells it apart: its details.code, else its text. */
const recorded: Readonly<Record<string, FailureCode>> = {
  AUTH_TOKEN_MISMATCH: "token-mismatch",
  AUTH_DEVICE_TOKEN_MISMATCH: "device-token-mismatch",
  AUTH_SCOPE_MISMATCH: "scope-missing",
  AUTH_BOOTSTRAP_TOKEN_INVALID: "bootstrap-invalid",
  AUTH_RATE_LIMITED: "rate-limited",
  AUTH_UNAUTHORIZED: "unauthorized",
  AUTH_IDENTITY_HEADER_REQUIRED: "unauthorized",
  DEVICE_IDENTITY_REQUIRED: "device-identity-required",
  PAIRING_REQUIRED: "pairing-required",
  PAIRING_CHANGED: "surface-approval-required",
  "protocol mismatch": "incompatible",
  "unauthorized role: node": "forbidden",
  "unknown nodeId": "not-found",
  "device pairing approval denied": "forbidden",
  "device token rotation denied": "forbidden",
  "device token revocation denied": "forbidden",
  "UNAVAILABLE: SYSTEM_RUN_DENIED: approval required": "command-not-allowed",
  "node capability surface is awaiting operator approval": "surface-approval-required",
};

const recordedErrors: readonly { readonly at: string; readonly name: string; readonly error: WireError }[] =
  recordedFrames.flatMap(({ at, value }) => {
    const frame = decodeFrame(JSON.stringify(value));
    if (frame.type !== "res" || frame.error === undefined) return [];
    return [{ at, name: nameOf(frame.error), error: frame.error }];
  });

function nameOf({ message, details }: WireError): string {
  const hasCode = typeof details === "object" && details !== null && "code" in details;
  return hasCode ? String(details.code) : (message.split("; ")[0] ?? "");
}

test("the table names every recorded error, and no other", () => {
  expect(new Set(recordedErrors.map(({ name }) => name))).toEqual(new Set(Object.keys(recorded)));
});

test.each(Object.entries(recorded))("recorded: %s means %s", (name, code) => {
  for (const { at, error } of recordedErrors.filter((one) => one.name === name)) {
    const failure = fromWireError(error, "connect");
    const want = { code, message: `connect: ${error.message}`, details: { ...details(error), wireCode: error.code } };
    expect({ at, failure }).toMatchObject({ at, failure: want });
  }
});

function details(error: WireError): object {
  return typeof error.details === "object" && error.details !== null ? error.details : {};
}

test.each<[what: string, error: WireError, code: FailureCode]>([
  ["a missing scope, 2026.9.6", missingScope("operator.admin").wire, "scope-missing"],
  ["a missing scope, older", { code: "INVALID_REQUEST", message: "missing scope: operator.admin" }, "scope-missing"],
  ["any other FORBIDDEN", { code: "FORBIDDEN", message: "no" }, "forbidden"],
  ["NOT_PAIRED without details", { code: "NOT_PAIRED", message: "pairing required" }, "pairing-required"],
  [
    "startup",
    { code: "UNAVAILABLE", message: "x", details: { reason: "startup-sidecars" }, retryAfterMs: 500 },
    "starting",
  ],
  ["startup, by its text", { code: "UNAVAILABLE", message: "gateway starting" }, "starting"],
  ["a node that is away", { code: "UNAVAILABLE", message: "x", details: { code: "NOT_CONNECTED" } }, "node-offline"],
  ["a node that left meanwhile", nodeError("DISCONNECTED"), "node-offline"],
  ["a node that did not answer", nodeError("TIMEOUT"), "invoke-timeout"],
  ["a node that said no", nodeError("INVALID_REQUEST"), "invoke-failed"],
  ["a node that runs nothing", nodeError("UNAVAILABLE", "SYSTEM_RUN_DISABLED: security=deny"), "command-not-allowed"],
  ["a command outside the policy", refusedCommand("command not allowlisted"), "command-not-allowed"],
  ["a command that was not declared", refusedCommand("command not declared by node"), "command-not-allowed"],
  ["a node without commands", refusedCommand("node did not declare commands"), "command-not-allowed"],
  ["an unknown request", { code: "INVALID_REQUEST", message: "unknown requestId" }, "not-found"],
  ["an unknown device, 2026.3.8", { code: "INVALID_REQUEST", message: "unknown deviceId/role" }, "not-found"],
  ["a request that was superseded", invalidRequest("x", { code: "REQUEST_SUPERSEDED" }).wire, "superseded"],
  ["a request that was decided", invalidRequest("x", { code: "REQUEST_RESOLVED" }).wire, "conflict"],
  [
    "a version that does not fit",
    { code: "INVALID_REQUEST", message: "x", details: { code: "PROTOCOL_MISMATCH" } },
    "incompatible",
  ],
  ["an unknown method", { code: "INVALID_REQUEST", message: "unknown method: x" }, "usage"],
  ["anything else that may pass", { code: "UNAVAILABLE", message: "x" }, "failed"],
  [
    "a code that is a name every object has",
    { code: "INVALID_REQUEST", message: "x", details: { code: "constructor" } },
    "protocol",
  ],
])("%s", (_what, error, code) => {
  expect(fromWireError(error, "doing it").code).toBe(code);
});

function nodeError(code: string, message = "x"): WireError {
  return { code: "UNAVAILABLE", message: `${code}: ${message}`, details: { nodeError: { code, message } } };
}

function refusedCommand(reason: string): WireError {
  return { code: "INVALID_REQUEST", message: "x", details: { reason, command: "system.run" } };
}

test("whatever a gateway calls its error, it becomes one of our failures", () => {
  const names = fc.oneof(
    fc.string(),
    fc.constantFrom("constructor", "__proto__", "toString", ...Object.keys(refusals)),
  );
  const anyDetails = fc.oneof(
    fc.jsonValue(),
    fc.record({ code: names, reason: names, nodeError: fc.jsonValue() }, { requiredKeys: [] }),
  );
  fc.assert(
    fc.property(names, names, anyDetails, (code, message, given) => {
      const failure = fromWireError({ code, message, details: given }, "doing it");
      expect(failure).toBeInstanceOf(OpenClawError);
      expect(typeof failure.code).toBe("string");
    }),
  );
});

test("how long to wait is kept where a program finds it", () => {
  const failure = fromWireError({ code: "UNAVAILABLE", message: "x", retryAfterMs: 500 }, "connect");
  expect(failure.details).toEqual({ retryAfterMs: 500, wireCode: "UNAVAILABLE" });
});

describe("towards the other side", () => {
  test("a refusal goes out as it was made", () => {
    const refusal = unavailable("not now", { code: "NOT_CONNECTED" });
    expect(toWireError(refusal)).toEqual({
      code: "UNAVAILABLE",
      message: "not now",
      details: { code: "NOT_CONNECTED" },
    });
  });

  test("one of our failures keeps its code, and nothing of its cause", () => {
    const failure = new OpenClawError("state-unwritable", "the disk is full", {
      cause: new Error("/secret/path"),
      hint: "free some",
    });
    expect(toWireError(failure)).toEqual({
      code: "UNAVAILABLE",
      message: "the disk is full",
      details: { code: "state-unwritable" },
    });
  });

  test("a bug is not described", () => {
    const told = encodeFrame({
      type: "res",
      id: "1",
      ok: false,
      error: toWireError(new TypeError("reading 'token' of s3cret")),
    });
    expect(told).not.toContain("s3cret");
    expect(decodeFrame(told, "closed")).toMatchObject({ error: { code: "UNAVAILABLE" } });
  });
});

describe("the table of refusals", () => {
  const codes = Object.keys(refusals).filter((code): code is RefusalCode => findRefusal(code) !== undefined);

  test.each(codes)("%s means the same to the client as to the gateway that sent it", (code) => {
    const row = refusals[code];
    expect(fromWireError({ code: row.wire, message: "x", details: { code } }, "connect").code).toBe(row.failure);
  });

  test("every refusal closes with 1008, but a version mismatch with 1002", () => {
    const others = codes.filter((code) => refusalClose(code) !== 1008);
    expect(others).toEqual(["PROTOCOL_MISMATCH"]);
    expect(refusalClose("PROTOCOL_MISMATCH")).toBe(1002);
  });

  test.each(["", "auth_token_missing", "constructor", "__proto__", 7, null, undefined])(
    "%j is no row of it",
    (code) => {
      expect(findRefusal(code)).toBeUndefined();
    },
  );
});

test.each([
  [9, "update openclaw on this side"],
  [2, "the gateway is older"],
])("a gateway that expects protocol %i: the failure says which side must be updated", (expectedProtocol, said) => {
  const details = { code: "PROTOCOL_MISMATCH", expectedProtocol };
  const failure = fromWireError({ code: "INVALID_REQUEST", message: "protocol mismatch", details }, "connect");
  expect(failure).toMatchObject({ code: "incompatible", hint: expect.stringContaining(said) });
});
