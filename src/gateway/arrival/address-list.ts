/** Addresses and ranges as a configuration lists them, IPv4, IPv6 and IPv4 written as IPv6 alike. */
import { BlockList, isIP } from "node:net";

const maxAnswers = 1024;
/** Of an IPv6 address that ends as an IPv4 one. A header may hold anything in the place of one. */
const maxAddressLength = 45;

export class AddressList {
  readonly #list = new BlockList();
  readonly #single = new Set<string>();
  /** What was asked before: most connections come from a few addresses. */
  readonly #answers = new Map<string, boolean>();
  readonly isEmpty: boolean;

  /** Entries are addresses, or ranges such as 10.0.0.0/8; what is neither is left out, for the configuration has said so already. */
  constructor(entries: readonly string[]) {
    this.isEmpty = entries.length === 0;
    for (const entry of entries) this.#add(entry);
  }

  #add(entry: string): void {
    const [text = "", prefix] = entry.split("/");
    const address = plainAddress(text);
    const family = isIP(address);
    if (family === 0) return;
    // ::ffff:10.0.0.0/104 is 10.0.0.0/8.
    const wasMapped = family === 4 && isIP(text) === 6;
    const bits = prefix === undefined ? undefined : Number(prefix) - (wasMapped ? 96 : 0);
    if (bits === undefined) {
      this.#single.add(address);
      this.#list.addAddress(address, family === 4 ? "ipv4" : "ipv6");
    } else if (bits >= 0 && bits <= (family === 4 ? 32 : 128)) {
      this.#list.addSubnet(address, bits, family === 4 ? "ipv4" : "ipv6");
    }
  }

  has(address: string): boolean {
    const known = this.#answers.get(address);
    if (known !== undefined) return known;
    const plain = plainAddress(address);
    const family = isIP(plain);
    const answer = family !== 0 && this.#list.check(plain, family === 4 ? "ipv4" : "ipv6");
    if (this.#answers.size >= maxAnswers) this.#answers.clear();
    if (address.length <= maxAddressLength) this.#answers.set(address, answer);
    return answer;
  }

  /** True when the very address is an entry, and not only part of a range. */
  names(address: string): boolean {
    return this.#single.has(plainAddress(address));
  }
}

/** An IPv4-mapped IPv6 address as IPv4; anything else in lower case. */
export function plainAddress(address: string): string {
  const text = address.toLowerCase();
  if (!text.includes(":")) return text;
  const mapped = /^(?:::|0:0:0:0:0:)ffff:(.+)$/u.exec(text)?.[1];
  if (mapped === undefined) return text;
  if (isIP(mapped) === 4) return mapped;
  const [, high = "", low = ""] = /^([0-9a-f]{1,4}):([0-9a-f]{1,4})$/u.exec(mapped) ?? [];
  if (high === "" || low === "") return text;
  const [a, b] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return [a >> 8, a & 255, b >> 8, b & 255].join(".");
}
