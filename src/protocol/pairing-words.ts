/** The words of pairing codes: one for each value of a byte. No two begin with the same four letters, and each can be told from the others aloud. */
export const pairingWords: readonly string[] = `
  acorn album amber anchor apple apron arrow autumn badge bagel bamboo banjo barley basket beacon beaver bench
  berry bishop blanket bonfire bottle bridge bronze bucket buffalo butter cabin cactus camel candle canyon
  carbon carpet castle cedar cellar cherry chimney cinema circus clover cobalt coffee comet copper coral cotton
  cradle crayon cricket crystal curtain cushion cymbal dagger daisy dancer denim desert diamond dinner dolphin
  donkey dragon drawer drum eagle easel echo elbow ember engine envelope fabric falcon feather fender ferry
  fiddle finger flannel flute forest fossil fountain fox frost galaxy garden garlic gazelle ginger glacier glove
  goblet granite guitar hammer harbor hazel helmet heron hollow honey hornet husky igloo indigo insect iris
  island ivory jacket jaguar jasmine jelly jigsaw jungle juniper kayak kernel kettle kitten koala ladder lagoon
  lantern lasso lemon leopard lilac linen lobster locket lotus lumber magnet mango maple marble meadow melon
  mimosa mirror mitten monkey mosaic muffin mustard napkin nectar needle nickel noodle nutmeg oasis oatmeal
  ocean olive onion opal orange orchid osprey otter oyster paddle panda papaya parrot pebble pelican pencil
  pepper piano pigeon pillow pirate planet plum pocket pollen pony poplar potato prism pudding pumpkin puzzle
  quail quartz quilt rabbit radish raven ribbon river robin rocket rubber saddle saffron salmon sandal satin
  scarf shadow shovel silver sketch slipper sparrow spider spinach spruce squash stable statue sugar summer
  sunset swallow syrup tailor tango teapot temple thistle thunder tiger timber tomato topaz trumpet tulip tunnel
  turtle umbrella urchin vanilla velvet violet volcano wagon walnut walrus whistle willow window winter wizard
  yogurt zebra zephyr zigzag
`
  .trim()
  .split(/\s+/u);
