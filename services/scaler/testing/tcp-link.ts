import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** A way to a port that can be cut, so that both ends lose their connections, or go silent, as that to a node that is lost. */
export class TcpLink implements Disposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #target: number;
  #connections = 0;

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((near) => {
      this.#connections += 1;
      const far = connect(this.#target, "127.0.0.1");
      for (const socket of [near, far]) this.#sockets.add(socket.on("error", () => socket.destroy()));
      near.pipe(far).pipe(near);
    });
  }

  static async to(target: number): Promise<TcpLink> {
    const link = new TcpLink(target);
    link.#server.listen(0, "127.0.0.1");
    await once(link.#server, "listening");
    return link;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** How many came by it. */
  get connections(): number {
    return this.#connections;
  }

  /** From now on nothing goes either way, and neither end is told. */
  silence(): void {
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  /** Cut, and whoever comes again comes elsewhere. */
  redirect(target: number): void {
    this.#target = target;
    for (const socket of this.#sockets) socket.destroy();
  }

  [Symbol.dispose](): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
