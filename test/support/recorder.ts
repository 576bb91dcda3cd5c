/** Things as they happen, kept in order, and a way to wait for one without looking at the clock. */

export class Recorder<Item> {
  readonly items: Item[] = [];
  readonly #waiting = new Set<() => void>();
  #ended: Error | undefined;

  readonly push = (item: Item): void => {
    this.items.push(item);
    this.#wake();
  };

  /** The first item from index `from` on that fits; one that happened already counts. Rejects when no more can come. */
  async find<Found extends Item>(fits: (item: Item) => item is Found, from?: number): Promise<Found>;
  async find(fits: (item: Item) => boolean, from?: number): Promise<Item>;
  async find(fits: (item: Item) => boolean, from = 0): Promise<Item> {
    for (let at = from; ; at++) {
      while (at >= this.items.length) await this.#next();
      const item = this.items[at];
      if (item !== undefined && fits(item)) return item;
    }
  }

  /** No more items will come: whoever waits, or asks later for something that is not there, is told why. */
  end(why: Error): void {
    this.#ended ??= why;
    this.#wake();
  }

  async #next(): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.add(resolve);
    await promise;
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resume of waiting) resume();
  }
}
