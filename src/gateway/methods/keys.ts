/** device.key.rotate, ours: a device takes a new key and keeps what it was approved for. */
import { verifySuccession } from "../../identity/key-succession.ts";
import { type NewKey, rekeyDevice, rekeySurfaceRequest } from "../../pairing/rekey.ts";
import { closeCodes } from "../../protocol/close.ts";
import type { MethodHandlers } from "../../protocol/methods.ts";
import { invalidRequest } from "../../protocol/wire-error.ts";
import { auditFields, knownDevice } from "../records/change-parts.ts";
import type { CallContext } from "../dispatch.ts";
import type { Change } from "../records/tables.ts";
import { deciderOf } from "./callers.ts";
import type { MethodHouse } from "./house.ts";

type KeyMethods = Pick<MethodHandlers<CallContext>, "device.key.rotate">;

export function keyMethods({ tables, sessions, runtime }: MethodHouse): KeyMethods {
  return {
    "device.key.rotate": async ({ session, afterReply }, said) => {
      const { deviceId: oldId, connId } = session.facts;
      if (oldId === undefined) throw denied("this session has no device");
      const rotated = await tables.change((change) => {
        const device = knownDevice(change, oldId);
        const proof = verifySuccession(device, said, connId);
        if (!proof.ok) throw denied(proof.reason);
        if (change.devices.get(proof.deviceId) !== undefined) throw denied("the new key is a device already");
        change.devices.delete(oldId);
        change.devices.put(proof.deviceId, rekeyDevice(device, proof));
        moveRequests(change, oldId, proof);
        change.audit({
          action: "device.rekey",
          device: proof.deviceId,
          previous: oldId,
          ...auditFields(deciderOf(session)),
        });
        return { deviceId: proof.deviceId, previousDeviceId: oldId, rotatedAtMs: change.nowMs };
      });
      runtime.log("info", "device key replaced", { device: rotated.deviceId, previous: oldId, conn: connId });
      sessions.tellOperators("operator.pairing", "device.pair.changed", {});
      afterReply(() => sessions.closeDevice(oldId, undefined, closeCodes.credentialChanged, "device key replaced"));
      return rotated;
    },
  };
}

/** What waits for a decision about the command list goes on waiting. What the old key asked for is the old key's, and nobody's any more. */
function moveRequests(change: Change, oldId: string, key: NewKey): void {
  for (const request of change.surfaceRequests.all()) {
    if (request.nodeId === oldId) change.surfaceRequests.put(request.requestId, rekeySurfaceRequest(request, key));
  }
  for (const request of change.deviceRequests.all()) {
    if (request.deviceId === oldId) change.deviceRequests.delete(request.requestId);
  }
}

function denied(reason: string) {
  return invalidRequest(`device key rotation denied: ${reason}`, { code: "KEY_ROTATION_DENIED", reason });
}
