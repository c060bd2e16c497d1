"""A plant and its controller in one program: the first screen of the README."""

import tautline

with tautline.serve("127.0.0.1:9000", name="plant") as plant:
    with tautline.connect("127.0.0.1:9000", name="controller") as controller:
        commands = controller.publisher("command")
        commands.send({"force": [0.5, -1.5]})

        command = plant.receive(timeout=1.0)
        print(f"{command.type.value} from {command.source}: {command.data}")
        plant.reply(command, "done")
