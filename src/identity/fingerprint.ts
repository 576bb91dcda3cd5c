/** A device id as people compare it. */

/** What two people compare by eye: the first 80 bits of the device id, `5647:5aa7:5463:474c:0285`. */
export function fingerprint(deviceId: string): string {
  return (deviceId.slice(0, 20).match(/.{1,4}/gu) ?? []).join(":");
}
