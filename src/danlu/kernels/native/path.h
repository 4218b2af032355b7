/* The table of this path's functions; the last line of every path. */
const Path PATH = {linear, dense, blocks};
