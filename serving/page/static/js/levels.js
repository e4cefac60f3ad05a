// Arithmetic on a mask: one byte a pixel, 255 is repainted. No canvas here.

/** A rectangle of whole pixels around a segment, within the mask; null where it lies outside. */
function around(width, height, from, to) {
  const reach = Math.max(from.radius, to.radius) + 1;
  const left = Math.max(0, Math.floor(Math.min(from.x, to.x) - reach));
  const top = Math.max(0, Math.floor(Math.min(from.y, to.y) - reach));
  const right = Math.min(width, Math.ceil(Math.max(from.x, to.x) + reach));
  const bottom = Math.min(height, Math.ceil(Math.max(from.y, to.y) + reach));
  return right > left && bottom > top ? { left, top, right, bottom } : null;
}

/**
 * Paint a segment whose radius goes from one end's to the other's; `softness` (0 to 1) is the share of the radius
 * over which it fades. Overlapping strokes keep the larger level, so that a soft edge stays soft.
 * Returns the rectangle that it touched, or null.
 */
export function paintSegment(levels, width, height, from, to, softness, erase) {
  const box = around(width, height, from, to);
  if (!box) return null;
  const dx = to.x - from.x;
  const dy = to.y - from.y;
  const length2 = dx * dx + dy * dy;
  for (let y = box.top; y < box.bottom; y++) {
    for (let x = box.left; x < box.right; x++) {
      const px = x + 0.5 - from.x;
      const py = y + 0.5 - from.y;
      const t = length2 ? Math.min(1, Math.max(0, (px * dx + py * dy) / length2)) : 0;
      const radius = from.radius + t * (to.radius - from.radius);
      const away2 = (px - t * dx) ** 2 + (py - t * dy) ** 2;
      if (away2 >= (radius + 0.5) ** 2) continue;
      const inside = (radius + 0.5 - Math.sqrt(away2)) / Math.max(radius * softness, 1);
      const level = Math.round(255 * Math.min(1, inside));
      const at = y * width + x;
      levels[at] = erase ? Math.min(levels[at], 255 - level) : Math.max(levels[at], level);
    }
  }
  return box;
}

export function union(one, other) {
  if (!one || !other) return one || other;
  return {
    left: Math.min(one.left, other.left),
    top: Math.min(one.top, other.top),
    right: Math.max(one.right, other.right),
    bottom: Math.max(one.bottom, other.bottom),
  };
}

/** The levels within a rectangle. */
export function cut(levels, width, box) {
  const made = new Uint8Array((box.right - box.left) * (box.bottom - box.top));
  for (let y = box.top, at = 0; y < box.bottom; y++, at += box.right - box.left) {
    made.set(levels.subarray(y * width + box.left, y * width + box.right), at);
  }
  return made;
}

export function paste(levels, width, box, part) {
  const row = box.right - box.left;
  for (let y = box.top, at = 0; y < box.bottom; y++, at += row) {
    levels.set(part.subarray(at, at + row), y * width + box.left);
  }
}

/** Levels within a rectangle as RGBA pixels of a colour, the level its alpha. */
export function tinted(levels, width, box, [red, green, blue]) {
  const made = new ImageData(box.right - box.left, box.bottom - box.top);
  const pixels = new Uint32Array(made.data.buffer);
  const colour = (blue << 16) | (green << 8) | red;
  let at = 0;
  for (let y = box.top; y < box.bottom; y++) {
    for (let x = box.left; x < box.right; x++) pixels[at++] = (levels[y * width + x] << 24) | colour;
  }
  return made;
}

/** All levels as opaque greys. */
export function greys(levels, width, height) {
  const made = new ImageData(width, height);
  for (let i = 0, at = 0; i < levels.length; i++, at += 4) {
    made.data[at] = made.data[at + 1] = made.data[at + 2] = levels[i];
    made.data[at + 3] = 255;
  }
  return made;
}
