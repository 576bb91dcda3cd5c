/**
 * What a gateway remembers, for the owner of its state directory: with or without a gateway that runs, and whatever that one thinks of them
 * (auth.md § 4). Every change is one transaction on the same store, with its audit line; a running gateway takes it over.
 */
import type { PublicIdentity } from "../../identity/device-identity.ts";
import type { DeviceAsk } from "../../pairing/requests.ts";
import type { KnownRequest, PairedDevice, PendingDevice } from "../../protocol/methods.ts";
import { fromWireError, RequestRefused } from "../../protocol/wire-error.ts";
import type { Runtime } from "../../runtime.ts";
import { OpenClawError } from "../../errors.ts";
import type { RecordStore } from "../../store/record-store.ts";
import type { Decider } from "./change-parts.ts";
import { DeviceTokens } from "./device-tokens.ts";
import { Devices } from "./devices.ts";
import { policyOf } from "../options.ts";
import { Sessions } from "../sessions.ts";
import { deviceSummary, endOf } from "./summaries.ts";
import { Tables } from "./tables.ts";

export interface OfflineOptions {
  readonly store: RecordStore;
  /** What the gateway derives device tokens with. */
  readonly tokenKey: Uint8Array;
  /** The gateway's public key, for pairing codes; empty where it has none yet. */
  readonly publicKey: string;
  readonly runtime: Runtime;
  /** Who decides, for the audit lines. */
  readonly by: Decider;
}

/** A program with a key of its own, as its owner wants it. */
export interface ServiceAccount {
  readonly identity: PublicIdentity;
  readonly name: string;
  readonly scopes: readonly string[];
}

export class OfflineRecords implements AsyncDisposable {
  readonly #tables: Tables;
  readonly #devices: Devices;
  readonly #tokens: DeviceTokens;
  readonly #runtime: Runtime;
  readonly #by: Decider;

  private constructor(tables: Tables, { runtime, tokenKey, publicKey, by }: OfflineOptions) {
    const base = { tables, sessions: new Sessions(runtime), runtime };
    this.#tables = tables;
    this.#tokens = new DeviceTokens({ ...base, tokenKey, isBusy: () => false });
    this.#devices = new Devices({ ...base, tokens: this.#tokens, limits: policyOf({}).limits, publicKey });
    this.#runtime = runtime;
    this.#by = by;
  }

  /** Reads the store; it is closed with what this gives back. */
  static async open(options: OfflineOptions): Promise<OfflineRecords> {
    return new OfflineRecords(await Tables.open(options.store, options.runtime), options);
  }

  /** As `device.pair.list` would say it; who is connected only the gateway knows. */
  list(): { readonly pending: readonly PendingDevice[]; readonly paired: readonly PairedDevice[] } {
    const pending = this.#devices.open(this.#runtime.now()).map((request) => this.#devices.shown(request));
    const paired = [...this.#tables.devices.values()]
      .toSorted((a, b) => b.approvedAtMs - a.approvedAtMs)
      .map((device) => {
        const { connected: _connected, ...shown } = deviceSummary(device, false);
        return shown;
      });
    return { pending, paired };
  }

  /** As `device.pair.lookup` would say it. */
  lookUp(wanted: string): readonly KnownRequest[] {
    const nowMs = this.#runtime.now();
    return this.#devices
      .lookUp(wanted)
      .map((request) => ({ ...this.#devices.shown(request), ...endOf(request, nowMs) }));
  }

  /** Approves a request, with the owner's rights. Fails as `device.pair.approve` would. */
  async approve(requestId: string): Promise<PairedDevice> {
    try {
      return deviceSummary(await this.#devices.approve(requestId, "owner", this.#by, () => {}), false);
    } catch (error) {
      throw error instanceof RequestRefused ? fromWireError(error.wire, "cannot approve") : error;
    }
  }

  /** Enrols a service's key under its name, with a token that holds its scopes. `conflict` when the name is taken. */
  async enrolService({ identity, name, scopes }: ServiceAccount): Promise<{ readonly token: string }> {
    await this.#tables.refresh();
    const { deviceId, publicKey } = identity;
    const taken = [...this.#tables.devices.values()].find(
      ({ operatorLabel, displayName }) => operatorLabel === name || displayName === name,
    );
    if (taken !== undefined) {
      throw new OpenClawError("conflict", `there is a device called ${name} already (${taken.deviceId})`, {
        hint: "choose another name, or remove that device first",
        fix: "openclaw devices list --local",
        details: { deviceId: taken.deviceId },
      });
    }
    const ask: DeviceAsk = {
      deviceId,
      publicKey,
      displayName: name,
      clientId: "gateway-client",
      clientMode: "backend",
      role: "operator",
      scopes,
      reason: "not-paired",
      isRepair: false,
    };
    const device = await this.#devices.enrol(ask, "owner", this.#by);
    await this.#devices.rename(deviceId, name, this.#by);
    return this.#tokens.tokenFor(device, "operator", undefined);
  }

  /** Forgets a device with all that it has. */
  async remove(deviceId: string): Promise<void> {
    (await this.#devices.remove(deviceId, this.#by))();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tables.close();
  }
}
