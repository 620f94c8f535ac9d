"""DeepFashion's consumer-to-shop files, laid down in miniature."""

from PIL import Image

# item, split, category, consumer pictures, shop pictures
ITEMS = [("id_00000001", "train", "CLOTHING/Blouses_Shirts", 2, 1),
         ("id_00000002", "train", "DRESSES/Lace_Dress", 1, 2),
         ("id_00000003", "val", "CLOTHING/Blouses_Shirts", 1, 1), ("id_00000004", "test", "DRESSES/Lace_Dress", 2, 2)]


def lay_down(root, items=ITEMS):
    """The three lists and the pictures: every consumer picture of an item is paired with every shop picture."""
    pairs, boxes = [], []
    for number, (item, split, category, consumers, shops) in enumerate(items):
        asks = [f"img/{category}/{item}/comsumer_{i + 1:02d}.jpg" for i in range(consumers)]
        answers = [f"img/{category}/{item}/shop_{i + 1:02d}.jpg" for i in range(shops)]
        pairs += [f"{a} {b} {item} {split}" for a in asks for b in answers]
        for path in asks + answers:
            (root / "Img" / path).parent.mkdir(parents=True, exist_ok=True)
            colour = (37 * number % 256, 91 * number % 256, 200 if path in answers else 100)
            Image.new("RGB", (80, 40), colour).save(root / "Img" / path)
            boxes.append(f"{path} 1 {1 if path in answers else 2} 20 010 060 045")
    files = {"Eval/list_eval_partition.txt": ["image_pair_name_1 image_pair_name_2 item_id evaluation_status", *pairs],
             "Anno/list_bbox_consumer2shop.txt": ["image_name clothes_type source_type x_1 y_1 x_2 y_2", *boxes]}
    for name, lines in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("\n".join([str(len(lines) - 1), *lines]) + "\n")
    (root / "Anno/list_item_consumer2shop.txt").write_text("\n".join([str(len(items)), *(i[0] for i in items)]) + "\n")
