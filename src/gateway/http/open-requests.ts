/** Requests that are under way behind the gateway's authentication: each ends as soon as its sender would be turned away. */

export interface OpenRequest {
  /** Why its sender would be turned away now; undefined while that is not so. */
  readonly lostBecause: () => string | undefined;
  /** Ends it at both ends. */
  readonly end: (why: string) => void;
}

export class OpenRequests {
  readonly #all = new Set<OpenRequest>();

  /** Watches over one until the returned function is called. */
  add(request: OpenRequest): () => void {
    this.#all.add(request);
    return () => void this.#all.delete(request);
  }

  /** To be called whenever devices or rules have changed. */
  review(): void {
    for (const request of this.#all) {
      const why = request.lostBecause();
      if (why === undefined) continue;
      this.#all.delete(request);
      request.end(why);
    }
  }
}
