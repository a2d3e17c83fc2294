/** A GIF of which each frame changes one pixel, a few bytes that are work for whole frames. Sides of more than 2048 would be taken for a mistake. */
export function dots({ side, frames }: { readonly side: number; readonly frames: number }): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt16LE(side, 0);
  size.writeUInt16LE(side, 2);
  const frame = Buffer.from("!\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0", "latin1");
  const start = [Buffer.from("GIF89a"), size, Buffer.from("\x80\0\0\0\0\0\xff\xff\xff", "latin1")];
  return Buffer.concat([...start, ...Array.from({ length: frames }, () => frame), Buffer.from(";")]);
}
